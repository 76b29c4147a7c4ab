"""The long test: `python -m tests.fuzz --requests 1000000 --seed 7`, or `make fuzz REQUESTS=… SEED=…`."""

import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

import click

from tests.fuzz.campaign import Tally, run, target


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--requests", default=100_000, show_default=True, type=click.IntRange(1), help="Requests to send."
)
@click.option("--seed", type=int, help="Seed of the mutations.  [default: random]")
@click.option("--connections", default=8, show_default=True, type=click.IntRange(1), help="Open at once.")
def main(requests: int, seed: int | None, connections: int) -> None:
    """Send mutated requests to a real server. Those that fail are kept in tests/fuzz/cases."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    click.echo(f"{requests:,} requests, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, target(Path(folder)) as server:
        tally = asyncio.run(
            run(server, requests=requests, seed=seed, connections=connections, progress=_show)
        )
    click.echo(f"\r{tally}")
    for line in tally.faults[:20]:
        click.echo(line, err=True)
    sys.exit(bool(tally.faults))


def _show(tally: Tally) -> None:
    """Print one line, which the next one overwrites."""
    if sys.stdout.isatty():
        click.echo(f"\r{tally}", nl=False)


if __name__ == "__main__":
    main(prog_name="python -m tests.fuzz")
