"""What all figures share: colours, and how a figure is saved."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MANY = 12  # outputs; more lines cannot be distinguished
ROWS = 40  # inputs; more names do not fit on a page
BLUE, ORANGE, GREY = "#2a6fbb", "#d9730d", "#888888"


def saved(figure: Figure, path: Path) -> Figure:
    """Save a figure as PNG, and return it."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
    return figure


def readable(name: str) -> str:
    """A token of spaces or line breaks as a Python literal."""
    return name if name.isprintable() and name.strip() else repr(name)
