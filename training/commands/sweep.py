"""`cellgate-train sweep`."""

import logging
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from training import data
from training.commands.errors import reported_errors
from training.commands.table import table_of, table_options
from training.commands.train import config_of

if TYPE_CHECKING:
    from training.sweep import Trial


@click.command()
@click.argument("name", metavar="DATA", type=click.Choice(data.names()), required=False)
@table_options
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar="FIELD=VALUES",
    help="A field of the recipe to vary: `hidden=32,64,128`, or a range, `learning_rate=1e-4..1e-2`.",
)
@click.option(
    "--trials", type=click.IntRange(1), default=20, show_default=True, help="Number of recipes to try."
)
@click.option("--recipe", "recipe_name", default=None, help="The recipe to vary.")
@click.option("--seed", default=0, show_default=True, help="Seed of the search and of each training.")
@click.option("--accelerator", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", default=1, show_default=True, help="Threads of each training.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder.  [default: runs/DATA-sweep]")
def sweep(
    name: str | None,
    tried: tuple[str, ...],
    trials: int,
    recipe_name: str | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Try recipes on DATA, or on a table of your own, and rank them by validation loss.

    After Ctrl-C the same command resumes; with more --trials it also extends a finished sweep.

    \b
    cellgate-train sweep vowels --try hidden=32,64,128 --try learning_rate=1e-4..1e-2
    cellgate-train sweep vowels --try cell=lstm,gru,rnn --trials 3
    cellgate-train sweep --data my.csv --target outcome --try hidden=16,32,64 --trials 3
    """
    with reported_errors():
        from training import sweep as search
        from training.figures import draw_sweep

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        described, loaded = table_of(name, options)
        config = config_of(name or "", recipe_name, options, described)
        folder = out or Path("runs") / f"{config.data}-sweep"
        space = search.read_space(tried)
        done = _run_all(search.sweep(config, space, folder, count=trials, loaded=loaded), trials)
        best, *_ = order = search.ranked(done)
        draw_sweep(
            {field: [trial.tried[field] for trial in done] for field in space},
            [trial.loss for trial in done],
            path=folder / "sweep.png",
        )
        search.write(order, folder / "sweep.csv")
        _show(order, list(space))
        from training import run

        click.echo(f"{folder}: sweep.csv, sweep.png. The best recipe:")
        click.echo(f"{run.command(best.config)} --out {shlex.quote(str(folder / 'best'))}")


def _run_all(trials: "Iterator[Trial]", count: int) -> "list[Trial]":
    """Run all trials; show a bar on a terminal, plain lines elsewhere."""
    is_terminal = sys.stdout.isatty()
    done = []
    for trial in track(trials, "trials", total=count, disable=not is_terminal):
        done.append(trial)
        if not is_terminal:
            tried = "  ".join(f"{field} {_short(value)}" for field, value in trial.tried.items())
            click.echo(f"trial {trial.number + 1}/{count}  {tried}  validation loss {trial.loss:.4f}")
    return done


def _show(order: "list[Trial]", fields: list[str]) -> None:
    table = Table("trial", *fields, "validation loss")
    for trial in order:
        table.add_row(
            str(trial.number), *(_short(trial.tried[field]) for field in fields), f"{trial.loss:.4f}"
        )
    Console().print(table)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
