"""Draws what a run learnt, as PNG. Knows nothing of how the numbers came about."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, ORANGE, GREY = "#2a6fbb", "#d9730d", "#888888"


def draw_learning_curves(rows: list[dict[str, float]], *, kept: int, path: Path) -> None:
    """Loss and metric of both parts over the epochs, with a line at the epoch that was kept."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    shown = [name.removeprefix("train_") for name in rows[0] if name.startswith("train_")]
    for axes, metric in zip(figure.subplots(1, 2), shown, strict=True):
        for part, colour in (("train", BLUE), ("validation", ORANGE)):
            axes.plot(epochs, [row[f"{part}_{metric}"] for row in rows], color=colour, label=part)
        axes.axvline(kept, color=GREY, linewidth=1, linestyle="--", label=f"kept: epoch {kept}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if metric == "loss":
            axes.set_yscale("log")
    _save(figure, path)


def draw_confusion(confusion: NDArray[np.int64], *, labels: tuple[str, ...], title: str, path: Path) -> None:
    """How many sequences of each class went where; the colour is the share of the true class."""
    figure = Figure(figsize=(2 + 0.55 * len(labels), 1.6 + 0.5 * len(labels)), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.85)
    _save(figure, path)


def draw_sweep(tried: dict[str, list[Any]], losses: list[float], *, path: Path) -> None:
    """The validation loss over each field that was varied; the best trial is orange."""
    figure = Figure(figsize=(1 + 3.5 * len(tried), 3.6), layout="constrained")
    order = np.argsort(losses)[::-1]  # the best on top
    colours = [ORANGE if row == order[-1] else BLUE for row in order]
    for axes, (field, values) in zip(
        figure.subplots(1, len(tried), squeeze=False)[0], tried.items(), strict=True
    ):
        is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        shown = values if is_number else [str(value) for value in values]
        axes.scatter([shown[row] for row in order], [losses[row] for row in order], c=colours, zorder=3)
        if is_number and min(values) > 0 and max(values) / min(values) >= 10:
            axes.set_xscale("log")
        axes.set_xlabel(field)
        axes.set_ylabel("validation loss")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
