"""Draws how far back cells remember. Knows no origin of the numbers."""

from pathlib import Path

from matplotlib.figure import Figure

from training.figures.base import GREY, saved

COLOURS = (  # of many lines
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf", "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94",
)  # fmt: skip


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
    return saved(figure, path)


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
    return saved(figure, path)
