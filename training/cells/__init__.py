"""The recurrent cells: one module each, with `CELL`, a subclass of `Cell`. A new cell is a new file."""

import pkgutil
from importlib import import_module

from training.cells.cell import Cell, CellError

__all__ = ["CellError", "build", "is_timed", "names"]

_NOT_A_CELL = (
    "cell",
    "elementwise",
    "exponential",
    "fused",
    "heads",
    "linear_attention",
    "log_sigmoid",
    "parallel",
    "scan",
    "stack",
    "stepped",
    "unit_scan",
)


def names() -> list[str]:
    """The names of all cells."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_A_CELL)


def is_timed(name: str) -> bool:
    """Whether the cell reads the time since the previous step. Raises CellError."""
    return _class_of(name).is_timed


def build(
    name: str,
    *,
    features: int,
    hidden: int,
    layers: int,
    dropout: float = 0.0,
    projection: int = 0,
    elapsed: int | None = None,
) -> Cell:
    """A cell with random weights; the arguments are those of `Cell`. Raises CellError."""
    cell = _class_of(name)
    if projection and not cell.projects:
        raise CellError(f"the cell {name!r} has no projection")
    return cell(
        features=features,
        hidden=hidden,
        layers=layers,
        dropout=dropout,
        projection=projection,
        elapsed=elapsed,
    )


def _class_of(name: str) -> type[Cell]:
    if name not in names():
        raise CellError(f"no cell {name!r}; there are: {', '.join(names())}")
    cell: type[Cell] = import_module(f"{__name__}.{name}").CELL
    return cell
