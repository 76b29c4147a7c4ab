"""The command line `python -m benchmarks`: compare servers, profile a worker, run an overload test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks import cache, idle_streams, loads, plot, profiling, report, soaking, streams
from benchmarks import files as files_bench
from benchmarks import gpu as gpu_bench
from benchmarks import sessions as sessions_bench
from benchmarks.cache import HERE, Unavailable
from benchmarks.contest import Options, terminal
from benchmarks.results import Result

OUT = click.Path(path_type=Path, file_okay=False)
LOADS = loads.LOADS | {"h": streams.one_in_flight, "i": streams.eight_in_flight}


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", "only", metavar="LOADS", default="abcdefghi", show_default=True, help="Loads to run.")
@click.option(
    "--peers",
    default="",
    metavar="WORDS",
    help="Only peers whose name contains one of these words, separated by commas.",
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds",
    default=6.0,
    show_default=True,
    help="Duration of each closed loop (s); open loops take longer.",
)
@click.option("--quick", is_flag=True, help="One round of two seconds, to check that everything runs.")
@click.option(
    "--out", default=HERE / "out", type=OUT, help="Folder for JSON and PNG.  [default: benchmarks/out]"
)
@click.pass_context
def main(
    context: click.Context, only: str, peers: str, rounds: int, seconds: float, quick: bool, out: Path
) -> None:
    """Measure Cellgate, its peers and lower bounds side by side; print tables, write JSON and a PNG.

    \b
    python -m benchmarks
    python -m benchmarks --only ab --peers cellgate,triton --rounds 3
    python -m benchmarks profile --load b
    python -m benchmarks soak --minutes 5
    """
    if context.invoked_subcommand:
        return
    unknown = set(only) - LOADS.keys()
    if unknown:
        raise click.BadParameter(f"no load {', '.join(sorted(unknown))}; there are {', '.join(LOADS)}")
    words = frozenset(word.strip().lower() for word in peers.split(",") if word.strip())
    options = Options(1 if quick else rounds, 2.0 if quick else seconds, words, quick)
    with _tidy_errors():
        cache.tool("wrk", "wrk")
    _compare(options, [key for key in LOADS if key in only], out)


def _compare(options: Options, keys: list[str], out: Path) -> None:
    console = options.console
    out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for key in keys:
        console.print(f"[bold]({key})[/] {(LOADS[key].__doc__ or '').partition(') ')[2]}")
        results.append(LOADS[key](options))
        about = report.versions(options.versions)
        report.write_json(
            out / "benchmarks.json", results, about
        )  # after each load, in case the run is interrupted
        report.print_result(console, results[-1])
    console.rule()
    for result in results:
        report.print_result(console, result)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    plot.draw(out / "benchmarks.png", results, about)
    console.print(f"{out}/benchmarks.json, {out}/benchmarks.png")


@main.command()
@click.option("--load", default="a", show_default=True, type=click.Choice(["a", "b", "c"]))
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--top", default=25, show_default=True, help="Number of functions to show.")
def profile(load: str, seconds: float, top: int) -> None:
    """Profile one worker under a load: functions by self time, sampled by py-spy."""
    with _tidy_errors():
        profiling.run(terminal(), load, seconds=seconds, top=top)


@main.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4.0, show_default=True)
@click.option("--out", default=HERE / "out", type=OUT, help="Folder for JSON.  [default: benchmarks/out]")
def sessions(rounds: int, seconds: float, out: Path) -> None:
    """Measure the cost of a step on each session store, and the size of a million idle sessions."""
    with _tidy_errors():
        sessions_bench.run(terminal(), rounds=rounds, seconds=seconds, out=out)


@main.command()
@click.option("--seconds", default=2.0, show_default=True, help="Duration of each measurement (s).")
def gpu(seconds: float) -> None:
    """Compare CUDA with the CPU: parity on ragged batches, and steps/s with states on the device or not."""
    with _tidy_errors():
        if not gpu_bench.run(terminal(), seconds=seconds):
            raise SystemExit(1)


@main.command()
@click.option("--minutes", default=5.0, show_default=True)
@click.option("--times", default=4.0, show_default=True, help="Request rate, as a multiple of the capacity.")
@click.option(
    "--out", default=HERE / "out", type=OUT, help="Folder for JSON and PNG.  [default: benchmarks/out]"
)
def soak(minutes: float, times: float, out: Path) -> None:
    """Overload the server for minutes; check that its memory does not grow and answers are in time."""
    with _tidy_errors():
        if not soaking.run(terminal(), minutes=minutes, times=times, out=out):
            raise SystemExit(1)


@main.command()
@click.option("--sockets", default=10_000, show_default=True, type=click.IntRange(64))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4.0, show_default=True)
@click.option("--out", default=HERE / "out", type=OUT, help="Folder for JSON.  [default: benchmarks/out]")
def idle(sockets: int, rounds: int, seconds: float, out: Path) -> None:
    """Measure the memory of idle streams, and the latency of active ones beside them."""
    with _tidy_errors():
        idle_streams.run(terminal(), sockets=sockets, seconds=seconds, rounds=rounds, out=out)


@main.command()
@click.option("--sequences", default=1_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--formats", default="parquet,csv,ndjson", show_default=True, help="Formats to measure.")
@click.option("--out", default=HERE / "out", type=OUT, help="Folder for JSON.  [default: benchmarks/out]")
def files(sequences: int, rounds: int, formats: str, out: Path) -> None:
    """Compare `cellgate predict` on a file of short sequences with ONNX Runtime alone, on all CPUs."""
    with _tidy_errors():
        wanted = [name for name in files_bench.FORMATS if name in formats.split(",")]
        files_bench.run(terminal(), sequences=sequences, rounds=rounds, formats=wanted, out=out)


@contextlib.contextmanager
def _tidy_errors() -> Iterator[None]:
    """Print an Unavailable as one line."""
    try:
        yield
    except Unavailable as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
