"""Results as one PNG: a panel for each load, a bar for each contestant, the limit as a line."""

import math
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks.report import UNITS
from benchmarks.results import KERNEL, LIMIT, Result, Row

OURS, THEIRS, FLOORS, INK = "#0b6e4f", "#9aa5b1", "#d9dee4", "#2b2f36"


def draw(path: Path, results: list[Result], about: dict[str, str]) -> None:
    """Write the PNG."""
    matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK})
    drawn = [result for result in results if any(row.runs for row in result.rows)]
    columns = 1 if len(drawn) == 1 else 2
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(6.6 * columns, 2.7 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, result in zip(panels, drawn, strict=False):
        _panel(panel, result)
    for panel in panels[len(drawn) :]:
        panel.axis("off")
    shown = ("cellgate", "onnxruntime", "uvicorn", "triton", "python", "cores")
    versions = ", ".join(f"{name} {about[name]}" for name in shown if name in about)
    figure.supxlabel(f"{versions}; {about['processor']}", fontsize=8, color="#6b7280")
    figure.savefig(path, dpi=150)


def _panel(panel: Axes, result: Result) -> None:
    # a percentile is infinite if requests were not answered; the table shows that
    rows = [
        row
        for row in result.rows
        if not _is_in_limit(result, row) and math.isfinite(row.median(result.figure) or math.nan)
    ][::-1]
    values = [row.median(result.figure) or 0.0 for row in rows]
    bars = panel.barh([row.name for row in rows], values, color=[_colour(row) for row in rows], height=0.68)
    for bar, row, value in zip(bars, rows, values, strict=True):
        panel.annotate(
            _label(result, row, value),
            (value, bar.get_y() + bar.get_height() / 2),
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    limit = result.row(LIMIT).median(result.figure)
    if limit is not None:
        panel.axvline(limit, color="#c2410c", linewidth=1.2, linestyle=(0, (4, 3)))
        panel.annotate("limit", (limit, 1), xycoords=("data", "axes fraction"), xytext=(3, -9),
                       textcoords="offset points", color="#c2410c", fontsize=8)  # fmt: skip
    panel.set_ylim(min(-0.6, len(rows) - 5.4), len(rows) - 0.4)  # bars of equal thickness in every panel
    _style(panel, result, max([value * 1.32 for value in values] + [1.08 * (limit or 0.0)]))


def _is_in_limit(result: Result, row: Row) -> bool:
    """Bars much longer than the others; the line of the limit represents them."""
    has_limit = bool(result.row(LIMIT).runs)
    return row.name == LIMIT or (has_limit and row.name in (KERNEL, "HTTP floor (uvicorn)"))


def _style(panel: Axes, result: Result, right: float) -> None:
    arrow = "less is better" if result.lower_is_better else "more is better"
    panel.set_title(f"({result.key}) {result.title}", loc="left", fontsize=9.5, fontweight="bold", wrap=True)
    panel.set_xlabel(f"{UNITS[result.figure]}, {arrow}", fontsize=8, color="#6b7280")
    panel.set_xlim(0, right)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#eceff3", linewidth=0.8)
    panel.set_axisbelow(True)


def _colour(row: Row) -> str:
    if row.name.startswith("Cellgate"):
        return OURS
    return FLOORS if "floor" in row.name or "bare" in row.name else THEIRS


def _label(result: Result, row: Row, value: float) -> str:
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    ratio = result.ratio(row.name)
    if row.name == result.baseline or ratio is None:
        return number
    return f"{number}   ({ratio:.2g}x)" if ratio < 10 else f"{number}   ({ratio:.0f}x)"
