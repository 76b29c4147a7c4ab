"""The long test: `python -m tests.faults --histories 20000 --seed 7`, or `make faults HISTORIES=… SEED=…`."""

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

import click

from tests.faults.campaign import CLUSTERS, Tally, run
from tests.faults.history import DriverName


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--histories",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="Number of histories on each store.",
)
@click.option("--seed", type=int, help="Seed of the histories.  [default: random]")
@click.option("--first", default=0, show_default=True, help="Index of the first history.")
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Choice(sorted(CLUSTERS)),
    help="Store to test.  [default: all]",
)
@click.option(
    "--drivers",
    default=",".join(DriverName),
    show_default=True,
    callback=lambda _context, _option, text: _drivers_of(text),
    help="What sends the histories, chosen at random for each.",
)
def main(
    histories: int,
    seed: int | None,
    first: int,
    stores: tuple[str, ...],
    drivers: tuple[DriverName, ...],
) -> None:
    """Run random histories against real servers under faults; each must equal its one-shot run."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    numbers = range(first, first + histories)
    violations = []
    for store in stores or sorted(CLUSTERS):
        click.echo(f"{store}: {histories:,} histories from {first:,}, seed {seed}")
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            tally = asyncio.run(
                run(store, Path(folder), seed=seed, numbers=numbers, drivers=drivers, progress=_show)
            )
        click.echo(f"\r{tally}")
        violations += tally.violations
    for line in violations:
        click.echo(line, err=True)
    sys.exit(bool(violations))


def _drivers_of(text: str) -> tuple[DriverName, ...]:
    """Names, separated by commas."""
    try:
        return tuple(DriverName(name) for name in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected some of {', '.join(DriverName)}") from error


def _show(tally: Tally) -> None:
    """Print one line, which the next one overwrites."""
    if sys.stdout.isatty() or tally.histories % 500 == 0:
        rate = tally.histories / tally.seconds
        counts = f"{len(tally.violations)} violations, {tally.sent:,} requests"
        text = f"{tally.histories:,} histories, {rate:.0f}/s, {counts}"
        click.echo(f"\r{text}", nl=not sys.stdout.isatty())


if __name__ == "__main__":
    main(prog_name="python -m tests.faults")
