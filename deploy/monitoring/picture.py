"""Draw the dashboard's panels from a Prometheus server: python -m deploy.monitoring.picture URL FILE

It runs the queries of `panels`, the same as Grafana's. It knows Prometheus' HTTP API and matplotlib.
"""

import math
import re
import time
from datetime import datetime
from typing import Any

import click
import httpx

from deploy.monitoring.panels import ROWS, Panel, Query

NUM_POINTS = 120
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
UNITS = {"s": "s", "bytes": "B", "reqps": "/s", "ops": "/s", "short": ""}


def query(url: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    """The series of one query between two Unix times. Raises httpx.HTTPError."""
    reply = httpx.get(
        f"{url}/api/v1/query_range",
        params={
            "query": expression.replace("$__rate_interval", "30s"),
            "start": start,
            "end": end,
            "step": max(1.0, (end - start) / NUM_POINTS),
        },
    )
    reply.raise_for_status()
    series: list[dict[str, Any]] = reply.json()["data"]["result"]
    return series


def legend(drawn: Query, labels: dict[str, str]) -> str:
    """The name of one line, as Grafana makes it."""
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), drawn.legend).strip()


def tick(value: float, unit: str) -> str:
    """A value with its unit."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "short" and abs(value) < 1000:
        return f"{value:g}"
    scale, prefix = next((each for each in PREFIXES if abs(value) >= each[0]), (1.0, ""))
    return f"{value / scale:.3g} {prefix}{UNITS[unit]}".strip()


def draw(url: str, file: str, minutes: float) -> None:
    """Draw all panels of the last minutes."""
    from matplotlib.figure import Figure

    end = time.time()
    start = end - 60 * minutes
    columns = max(len(row.panels) for row in ROWS)
    figure = Figure(figsize=(4.6 * columns, 2.7 * len(ROWS)), layout="constrained")
    axes = figure.subplots(len(ROWS), columns, squeeze=False)
    for row, row_axes in zip(ROWS, axes, strict=True):
        for panel, axis in zip(row.panels, row_axes, strict=True):
            _draw_panel(axis, panel, url, start, end)
    figure.suptitle(f"Cellgate, {datetime.fromtimestamp(end).astimezone():%Y-%m-%d %H:%M %Z}")
    figure.savefig(file, dpi=80)


def _draw_panel(axis: Any, panel: Panel, url: str, start: float, end: float) -> None:
    for drawn in panel.queries:
        for series in query(url, drawn.expression, start, end):
            times, values = zip(*series["values"], strict=True)
            numbers = [float(value) for value in values]
            name = legend(drawn, series["metric"])
            if any(map(math.isfinite, numbers)):
                axis.plot([(each - end) / 60 for each in times], numbers, label=name, linewidth=1.2)
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlim((start - end) / 60, 0)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(lambda value, _: tick(value, panel.unit))
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=7, loc="upper left", framealpha=0.5)


@click.command(help=__doc__)
@click.argument("url")
@click.argument("file")
@click.option("--minutes", default=10.0, help="How far back the picture goes.")
def main(url: str, file: str, minutes: float) -> None:
    """Draw the picture."""
    draw(url.rstrip("/"), file, minutes)


if __name__ == "__main__":
    main()
