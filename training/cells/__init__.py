"""The recurrent cells: one module each, with `CELL`, a subclass of `Cell`. A new one is a new file."""

import pkgutil
from importlib import import_module

from training.cells.cell import Cell


def names() -> list[str]:
    """Every cell that can be named on the command line."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name != "cell")


class UnknownCellError(ValueError):
    """No cell has this name."""


def build(name: str, *, features: int, hidden: int, layers: int) -> Cell:
    """A cell with fresh weights. Raises UnknownCellError."""
    if name not in names():
        raise UnknownCellError(f"no cell {name!r}; there are: {', '.join(names())}")
    built: Cell = import_module(f"{__name__}.{name}").CELL(features=features, hidden=hidden, layers=layers)
    return built
