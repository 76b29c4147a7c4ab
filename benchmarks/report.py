"""Results as tables on the terminal and as a JSON document."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.cache import ROOT
from benchmarks.peers import CORES
from benchmarks.results import Result, Row

UNITS = {"requests_per_s": "requests/s", "steps_per_s": "steps/s", "short_p99_ms": "p99 ms"}


def versions(more: dict[str, str]) -> dict[str, str]:
    """Versions and hardware that the figures depend on."""
    packages = (
        "onnxruntime",
        "uvicorn",
        "fastapi",
        "pydantic",
        "orjson",
        "uvloop",
        "httptools",
        "lmdb",
        "numpy",
    )
    return {
        "cellgate": importlib.metadata.version("cellgate"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        **more,
        "processor": _processor(),
        "cores": str(CORES),
    }


def _commit() -> str:
    """Commit of the working tree, with "-dirty" if it was changed; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty"]
    described = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def print_result(console: Console, result: Result) -> None:
    """Print the table of one load."""
    unit = UNITS[result.figure]
    table = Table(title=f"({result.key}) {result.title}", title_justify="left", title_style="bold")
    for name in (
        "",
        unit,
        "spread",
        f"{result.baseline} is",
        "target",
        "p50 ms",
        "p99 ms",
        "CPU us/req",
        "cores",
        "errors",
    ):
        table.add_column(name, justify="left" if not name else "right")
    for row in result.rows:
        table.add_row(*_cells(result, row))
    console.print(table)
    for note in result.notes:
        console.print(f"  [dim]{note}[/]")
    console.print()


def write_json(path: Path, results: list[Result], about: dict[str, str]) -> None:
    """Write all results, with each round."""
    document = {"versions": about, "loads": {result.key: result.as_json() for result in results}}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _cells(result: Result, row: Row) -> list[str]:
    if not row.runs:
        return [row.name, row.note or "not run", *[""] * 8]
    spread, ratio = row.spread(result.figure), result.ratio(row.name)
    is_self = row.name == result.baseline
    p50, p99 = ("short_p50_ms", "short_p99_ms") if result.lower_is_better else ("p50_ms", "p99_ms")
    return [
        f"[bold]{row.name}[/]" if is_self else row.name,
        _number(row.median(result.figure)),
        "" if spread is None else f"±{spread / 2:.0%}",
        "" if is_self or ratio is None else f"{ratio:.2f}x",
        _target(result.targets.get(row.name), ratio),
        _number(row.median(p50)),
        _number(row.median(p99)),
        _number(row.median("server_cpu_us")),
        _number(_cores_busy(row)),
        _number(sum(run.get("errors", 0) for run in row.runs) or None),
    ]


def _cores_busy(row: Row) -> float | None:
    """How many cores the server used."""
    cost, rate = row.median("server_cpu_us"), row.median("requests_per_s")
    return None if cost is None or rate is None else cost * rate / 1e6


def _target(target: float | None, ratio: float | None) -> str:
    if target is None or ratio is None:
        return ""
    return f"[green]{target:g} met[/]" if ratio >= target else f"[red]{target:g} missed[/]"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
