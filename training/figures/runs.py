"""Draws what happened in runs: learning curves, confusion, sweeps, scores. Knows no origin of the numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.figures.base import BLUE, GREY, ORANGE, readable, saved

MANY_CLASSES = 40  # more counts and labels cannot be read
LARGEST = 12.0  # inches, of a matrix of more classes


def draw_learning_curves(rows: list[dict[str, float]], *, best: int, path: Path) -> Figure:
    """Loss and metric of both parts over the epochs, with a line at the best epoch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    shown = [name.removeprefix("train_") for name in rows[0] if name.startswith("train_")]
    for axes, metric in zip(figure.subplots(1, 2), shown, strict=True):
        for part, colour in (("train", BLUE), ("validation", ORANGE)):
            axes.plot(epochs, [row[f"{part}_{metric}"] for row in rows], color=colour, label=part)
        axes.axvline(best, color=GREY, linewidth=1, linestyle="--", label=f"best: epoch {best}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if metric == "loss":
            axes.set_yscale("log")
    return saved(figure, path)


def draw_confusion(
    confusion: NDArray[np.int64], *, labels: tuple[str, ...], title: str, path: Path
) -> Figure:
    """The confusion matrix, as counts; the colour is the share of the true class."""
    cell = 0.55 if len(labels) <= MANY_CLASSES else LARGEST / len(labels)
    size = len(labels) * cell
    figure = Figure(figsize=(2.4 + size, 2 + size), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    is_readable = len(labels) <= MANY_CLASSES
    for (row, column), count in np.ndenumerate(confusion) if is_readable else ():
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            digits = 9 if count < 10_000 else 6  # more digits are wider than a cell
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=digits)
    every = range(0, len(labels), -(-len(labels) // MANY_CLASSES))
    shown = [readable(labels[row]) for row in every]
    is_long = max(map(len, shown)) > 3  # wider than a cell
    axes.set_xticks(every, shown, rotation=90 if is_long else 0, fontsize=9, parse_math=False)
    axes.set_yticks(every, shown, fontsize=9, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.85)
    return saved(figure, path)


def draw_sweep(tried: dict[str, list[Any]], losses: list[float], *, path: Path) -> Figure:
    """The validation loss over each varied field; the best trial is orange."""
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
    return saved(figure, path)


def draw_scores(bars: list[tuple[str, list[float]]], *, path: Path) -> Figure:
    """Our errors relative to the best baseline's, which is the line: a dot for each seed."""
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for row, (_, shares) in enumerate(bars):
        axes.plot([min(shares), max(shares)], [row, row], color=GREY, linewidth=1, zorder=2)
        better = float(np.median(shares)) <= 1
        axes.scatter(shares, [row] * len(shares), color=BLUE if better else ORANGE, s=22, zorder=3)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("error on the test part, relative to the best baseline; one dot per seed")
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return saved(figure, path)


def draw_compressed(rows: dict[str, tuple[float, float]], *, title: str, path: Path) -> Figure:
    """Each figure after compression, relative to the figure before."""
    figure = Figure(figsize=(8, 1 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    shares = [after / before if before else 0 for before, after in rows.values()]
    axes.barh(list(rows), shares, color=BLUE, height=0.6)
    for row, (share, (before, after)) in enumerate(zip(shares, rows.values(), strict=True)):
        axes.text(share + 0.01, row, f"{before:,.4g} → {after:,.4g}", va="center", fontsize=8)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axes.set_xlim(0, max(1, *shares) * 1.35)
    axes.invert_yaxis()
    axes.set_xlabel("after, relative to before")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return saved(figure, path)
