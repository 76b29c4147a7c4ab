"""The recurrent cells: one module each, with `CELL`, a subclass of `Cell`. A new cell is a new file."""

import pkgutil
from importlib import import_module

from training.cells.cell import PLAIN, Cell, CellError, Layout
from training.cells.stepped_lstm import SteppedLSTM

__all__ = ["CellError", "Layout", "build", "names", "reads"]

_NOT_A_CELL = (
    "cell",
    "elementwise",
    "exponential",
    "fused",
    "gates",
    "heads",
    "linear_attention",
    "log_sigmoid",
    "parallel",
    "scan",
    "stack",
    "stepped",
    "stepped_lstm",
    "unit_scan",
)


def names() -> list[str]:
    """The names of all cells."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_A_CELL)


def reads(name: str) -> tuple[str, ...]:
    """The fields of `Layout` that the cell needs. Raises CellError."""
    return _class_of(name).reads


def build(
    name: str,
    *,
    features: int,
    hidden: int,
    layers: int,
    dropout: float = 0.0,
    projection: int = 0,
    layout: Layout = PLAIN,
    zoneout: float = 0.0,
) -> Cell:
    """A cell with random weights; the arguments are those of `Cell`. Raises CellError."""
    cell = _class_of(name)
    if projection and not cell.projects:
        raise CellError(f"the cell {name!r} has no projection")
    if zoneout:
        cell = _with_zoneout(name)
    return cell(
        features=features,
        hidden=hidden,
        layers=layers,
        dropout=dropout,
        projection=projection,
        layout=layout,
        zoneout=zoneout,
    )


def _with_zoneout(name: str) -> type[Cell]:
    """The class of a cell that leaves a share of its state as it was. Raises CellError."""
    cell = SteppedLSTM if name == "lstm" else _class_of(name)
    if not cell.zones:
        able = ", ".join(one for one in names() if one == "lstm" or _class_of(one).zones)
        raise CellError(
            f"--zoneout: the cell {name!r} has no step that could leave h and c as they were; {able} have"
        )
    return cell


def _class_of(name: str) -> type[Cell]:
    if name not in names():
        raise CellError(f"no cell {name!r}; there are: {', '.join(names())}")
    cell: type[Cell] = import_module(f"{__name__}.{name}").CELL
    return cell
