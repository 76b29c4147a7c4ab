"""The long run: `python -m tests.faults --histories 20000 --seed 7`, or `make faults HISTORIES=… SEED=…`."""

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

import click

from tests.faults.campaign import CLUSTERS, Tally, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--histories", default=10_000, show_default=True, type=click.IntRange(1), help="On each store.")
@click.option("--seed", type=int, help="The same seed draws the same histories.  [default: a new one]")
@click.option("--first", default=0, show_default=True, help="Number of the first history.")
@click.option("--store", "stores", multiple=True, type=click.Choice(sorted(CLUSTERS)), help="Default: all.")
def main(histories: int, seed: int | None, first: int, stores: tuple[str, ...]) -> None:
    """Random histories against real servers, killed meanwhile; each must equal its one-shot run."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    numbers = range(first, first + histories)
    wrong = []
    for store in stores or sorted(CLUSTERS):
        click.echo(f"{store}: {histories:,} histories from {first:,}, seed {seed}")
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            tally = asyncio.run(run(store, Path(folder), seed=seed, numbers=numbers, progress=_show))
        click.echo(f"\r{tally}")
        wrong += tally.wrong
    for line in wrong:
        click.echo(line, err=True)
    sys.exit(bool(wrong))


def _show(tally: Tally) -> None:
    """One line, written over."""
    if sys.stdout.isatty() or tally.histories % 500 == 0:
        rate = tally.histories / tally.seconds
        text = (
            f"{tally.histories:,} histories, {rate:.0f}/s, {len(tally.wrong)} wrong, {tally.sent:,} requests"
        )
        click.echo(f"\r{text}", nl=not sys.stdout.isatty())


if __name__ == "__main__":
    main(prog_name="python -m tests.faults")
