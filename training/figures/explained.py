"""Draws what happens inside a network, and its outputs. Knows no origin of the numbers."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.figures.base import BLUE, MANY, ORANGE, ROWS, readable, saved


def draw_inside(insides: dict[str, NDArray[np.float32]], *, title: str, path: Path) -> Figure:
    """A heat map for each gate and state: a column is a step, a row a unit."""
    figure = Figure(figsize=(10, 1.8 * len(insides)), layout="constrained")
    figure.suptitle(title)
    for axes, (name, values) in zip(
        figure.subplots(len(insides), 1, squeeze=False)[:, 0], insides.items(), strict=True
    ):
        is_gate = "gate" in name
        most = 1.0 if is_gate else float(max(np.abs(values).max(), 1e-6))
        image = axes.imshow(
            values.T, aspect="auto", interpolation="nearest", cmap="viridis" if is_gate else "RdBu_r",
            vmin=0 if is_gate else -most, vmax=most,
        )  # fmt: skip
        axes.set_ylabel(f"{name}\nunit")
        figure.colorbar(image, ax=axes, pad=0.01)
    axes.set_xlabel("step")
    return saved(figure, path)


def draw_outputs(outputs: NDArray[np.float32], *, names: tuple[str, ...], path: Path) -> Figure:
    """The outputs at each step: a line for each class, or a heat map of the most likely of many."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    if len(names) <= MANY:
        for name, values in zip(names, outputs.T, strict=True):
            axes.plot(values, label=name, marker="." if len(values) < 50 else None)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    else:
        order = np.argsort(-outputs.mean(axis=0), kind="stable")
        most_likely, others = order[:MANY], outputs[:, order[MANY:]].sum(axis=1)
        image = axes.imshow(
            np.vstack([outputs.T[most_likely], others]),
            aspect="auto",
            interpolation="nearest",
            cmap="viridis",
        )
        labels = [readable(names[row]) for row in most_likely] + [f"the other {len(names) - MANY}"]
        axes.set_yticks(range(MANY + 1), labels, fontsize=8, parse_math=False)
        axes.set_title(f"the {MANY} most likely of {len(names)}")
        figure.colorbar(image, ax=axes, pad=0.01)
    axes.set_xlabel("step")
    return saved(figure, path)


def draw_forecast(
    outputs: NDArray[np.float32],
    *,
    names: list[str],
    quantiles: tuple[float, ...],
    truth: NDArray[np.float32] | None,
    path: Path,
) -> Figure:
    """The quantiles at each step and the actual values: a panel for each of `names`, at most MANY.

    `outputs` [time, names · quantiles], `truth` [time, names]; the band is from the lowest to the highest.
    """
    shown = min(len(names), MANY)
    figure = Figure(figsize=(10, 1 + 2.2 * shown), layout="constrained")
    by_quantile = outputs.reshape(len(outputs), len(names), len(quantiles))
    middle = int(np.argmin(np.abs(np.array(quantiles) - 0.5)))
    marker = "." if len(outputs) < 50 else None
    panels = figure.subplots(shown, 1, squeeze=False, sharex=True)[:, 0]
    for row, axes in enumerate(panels):
        if len(quantiles) > 1:
            axes.fill_between(
                range(len(outputs)), by_quantile[:, row, 0], by_quantile[:, row, -1], color=BLUE, alpha=0.2,
                linewidth=0, label=f"{quantiles[0]:.0%} to {quantiles[-1]:.0%}",
            )  # fmt: skip
        label = f"predicted, {quantiles[middle]:.0%}"
        axes.plot(by_quantile[:, row, middle], color=BLUE, marker=marker, label=label)
        if truth is not None:
            axes.plot(truth[:, row], color=ORANGE, marker=marker, label="actual")
        axes.set_title(names[row], fontsize=9, parse_math=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[-1].set_xlabel("step")
    return saved(figure, path)


def draw_saliency(saliency: NDArray[np.float32], *, names: tuple[str, ...], of: str, path: Path) -> Figure:
    """The contributions of each input and step to an output at the last step, of at most ROWS inputs."""
    strongest = np.sort(np.argsort(-np.abs(saliency).sum(axis=0), kind="stable")[:ROWS])
    shown = saliency[:, strongest]
    figure = Figure(figsize=(10, 1.6 + 0.3 * len(strongest)), layout="constrained")
    axes = figure.subplots()
    most = float(max(np.abs(shown).max(), 1e-6))
    image = axes.imshow(shown.T, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most)
    axes.set_yticks(
        range(len(strongest)), [readable(names[row]) for row in strongest], fontsize=8, parse_math=False
    )
    axes.set_xlabel("step")
    suffix = f", the {ROWS} largest of {len(names)} inputs" if len(names) > ROWS else ""
    axes.set_title(f"contributions to {of!r} at the last step{suffix}", parse_math=False)
    figure.colorbar(image, ax=axes, pad=0.01)
    return saved(figure, path)
