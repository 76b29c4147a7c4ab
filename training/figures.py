"""Draws figures, saves them as PNG, and returns them. Knows nothing of the origin of the numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

MANY = 12  # outputs; more lines cannot be distinguished
ROWS = 40  # inputs; more names do not fit on a page
COLOURS = (  # of many lines
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf", "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94",
)  # fmt: skip
BLUE, ORANGE, GREY = "#2a6fbb", "#d9730d", "#888888"


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
    return _saved(figure, path)


def draw_confusion(
    confusion: NDArray[np.int64], *, labels: tuple[str, ...], title: str, path: Path
) -> Figure:
    """The confusion matrix, as counts; the colour is the share of the true class."""
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
    return _saved(figure, path)


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
    return _saved(figure, path)


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
    return _saved(figure, path)


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
    return _saved(figure, path)


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
        labels = [_readable(names[row]) for row in most_likely] + [f"the other {len(names) - MANY}"]
        axes.set_yticks(range(MANY + 1), labels, fontsize=8, parse_math=False)
        axes.set_title(f"the {MANY} most likely of {len(names)}")
        figure.colorbar(image, ax=axes, pad=0.01)
    axes.set_xlabel("step")
    return _saved(figure, path)


def draw_forecast(
    outputs: NDArray[np.float32],
    *,
    names: list[str],
    quantiles: tuple[float, ...],
    truth: NDArray[np.float32] | None,
    path: Path,
) -> Figure:
    """The forecast at each step and the actual values: a panel for each of `names`, at most MANY.

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
        label = f"forecast, {quantiles[middle]:.0%}"
        axes.plot(by_quantile[:, row, middle], color=BLUE, marker=marker, label=label)
        if truth is not None:
            axes.plot(truth[:, row], color=ORANGE, marker=marker, label="actual")
        axes.set_title(names[row], fontsize=9, parse_math=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[-1].set_xlabel("step of the forecast")
    return _saved(figure, path)


def draw_saliency(saliency: NDArray[np.float32], *, names: tuple[str, ...], of: str, path: Path) -> Figure:
    """The contributions of each input and step to an output at the last step, of at most ROWS inputs."""
    strongest = np.sort(np.argsort(-np.abs(saliency).sum(axis=0), kind="stable")[:ROWS])
    shown = saliency[:, strongest]
    figure = Figure(figsize=(10, 1.6 + 0.3 * len(strongest)), layout="constrained")
    axes = figure.subplots()
    most = float(max(np.abs(shown).max(), 1e-6))
    image = axes.imshow(shown.T, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most)
    axes.set_yticks(
        range(len(strongest)), [_readable(names[row]) for row in strongest], fontsize=8, parse_math=False
    )
    axes.set_xlabel("step")
    suffix = f", the {ROWS} largest of {len(names)} inputs" if len(names) > ROWS else ""
    axes.set_title(f"contributions to {of!r} at the last step{suffix}", parse_math=False)
    figure.colorbar(image, ax=axes, pad=0.01)
    return _saved(figure, path)


def _readable(name: str) -> str:
    """A token of spaces or line breaks as a Python literal."""
    return name if name.isprintable() and name.strip() else repr(name)


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
    return _saved(figure, path)


def draw_lags(panels: dict[str, dict[str, list[float]]], *, path: Path) -> Figure:
    """Gradient norm over lag: a panel for each title, a line for each cell; stacks are dashed."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        names = list(dict.fromkeys(name.split(",")[0] for name in curves))
        for name, norms in curves.items():
            colour = COLOURS[names.index(name.split(",")[0]) % len(COLOURS)]
            axes.plot(norms, color=colour, linestyle="--" if "layers" in name else "-", label=name)
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("lag, in steps")
        axes.set_ylabel("norm of the gradient, 1 at lag 0")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return _saved(figure, path)


def draw_adding(errors: dict[str, dict[int, float]], *, chance: float, solved: float, path: Path) -> Figure:
    """The remaining error over the length of the sequences, a line for each cell."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for row, (name, by_length) in enumerate(errors.items()):
        colour = COLOURS[row % len(COLOURS)]
        axes.plot(list(by_length), list(by_length.values()), marker="o", color=colour, label=name)
    for level, name in ((chance, "chance"), (solved, "solved")):
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1, label=name)
    lengths = sorted({length for by_length in errors.values() for length in by_length})
    axes.set_xscale("log")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_xlabel("steps of a sequence")
    axes.set_ylabel("mean square error")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Figure:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
    return figure
