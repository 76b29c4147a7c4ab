"""Draws predictions of the test part beside the actual values. Knows no origin of the numbers."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.figures.base import BLUE, GREY, ORANGE, saved

POINTS = 2000  # more dots hide each other
BINS = 40
STEPS = "step of the sequence"

Floats = NDArray[np.float64]


class Panel(NamedTuple):
    """A number and its prediction, at moments of one sequence or for several sequences."""

    title: str
    steps: NDArray[np.int64]  # [time]: the moments, as steps of the sequence, or the rank of each sequence
    actual: Floats  # [time]
    predicted: Floats  # [time]
    low: Floats | None  # [time]: the lower and the upper end of the band
    high: Floats | None


def draw_forecasts(panels: list[list[Panel]], *, band: str, path: Path, across: str = STEPS) -> Figure:
    """A row for each number, a column for each sequence; `band` says what share the band should hold.

    `across`: what the horizontal axis has; actual numbers are joined by lines along the steps of a sequence.
    """
    style = {"linewidth": 1.2} if across == STEPS else {"linestyle": "", "marker": ".", "markersize": 3}
    rows, columns = len(panels), max(map(len, panels))
    figure = Figure(figsize=(4 + 4 * columns, 1 + 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, of_number in enumerate(panels):
        for axes, panel in zip(grid[row], of_number, strict=False):
            if panel.low is not None and panel.high is not None:
                axes.fill_between(
                    panel.steps, panel.low, panel.high, color=BLUE, alpha=0.2, linewidth=0, label=band
                )
            axes.plot(panel.steps, panel.actual, color=ORANGE, label="actual", **style)
            axes.plot(panel.steps, panel.predicted, color=BLUE, linewidth=1.2, label="predicted")
            axes.set_title(panel.title, fontsize=9, parse_math=False)
            _tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel(across)
    grid[0][-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return saved(figure, path)


def draw_residuals(numbers: dict[str, tuple[Floats, Floats]], *, path: Path) -> Figure:
    """For each name the residuals, actual minus predicted: over the predicted value, and how often.

    `numbers`: predicted and actual values, each [answers], without missing ones.
    """
    figure = Figure(figsize=(10, 1 + 2.6 * len(numbers)), layout="constrained")
    grid = figure.subplots(len(numbers), 2, squeeze=False)
    for (left, right), (name, (predicted, actual)) in zip(grid, numbers.items(), strict=True):
        residuals = actual - predicted
        shown = np.unique(np.linspace(0, len(residuals) - 1, min(POINTS, len(residuals))).astype(int))
        left.scatter(predicted[shown], residuals[shown], color=BLUE, s=6, alpha=0.4, linewidths=0)
        left.axhline(0, color=GREY, linewidth=1)
        left.set_title(name, fontsize=9, parse_math=False)
        left.set_ylabel("actual - predicted")
        right.hist(residuals, bins=BINS, color=BLUE)
        right.axvline(0, color=GREY, linewidth=1)
        mean = float(residuals.mean())
        right.axvline(mean, color=ORANGE, linestyle="--", linewidth=1, label=f"mean {mean:.3g}")
        right.set_ylabel("answers")
        right.legend(frameon=False, fontsize=8)
        _tidy(left)
        _tidy(right)
    grid[-1][0].set_xlabel("predicted")
    grid[-1][1].set_xlabel("actual - predicted")
    return saved(figure, path)


def draw_reliability(
    confidence: Floats,
    accuracy: Floats,
    counts: NDArray[np.int64],
    *,
    error: float,
    path: Path,
    share: str = "share of correct answers",
    probability: str = "probability of the predicted class",
) -> Figure:
    """How often answers are correct over their predicted probability; below, how many there are.

    Each array has one number for each bin; `error` is the expected calibration error. `share` and
    `probability` name the axes.
    """
    figure = Figure(figsize=(5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", label="network")
    upper.set_ylabel(share)
    upper.set_title(f"expected calibration error {error:.3f}")
    upper.set_ylim(0, 1.02)
    upper.legend(frameon=False, fontsize=8)
    lower.bar(confidence, counts, width=0.04, color=BLUE)
    lower.set_ylabel("answers")
    lower.set_xlabel(probability)
    lower.set_xlim(0, 1.02)
    for axes in (upper, lower):
        _tidy(axes)
    return saved(figure, path)


def _tidy(axes: Axes) -> None:
    axes.locator_params(axis="x", nbins=6)  # more labels would touch
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
