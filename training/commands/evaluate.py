"""`cellgate-train evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from training import data
from training.commands.errors import errors, finished_run

if TYPE_CHECKING:
    from training.data.dataset import DataSet
    from training.model import Network
    from training.tasks import Scores


@click.command()
@click.argument("what", metavar="RUN|DATA")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option("--url", help="Ask this server, and not the run's network.")
@click.option("--model", help="--url: the model there.  [default: the data set's name]")
@click.option("--version", help="--url: its version.  [default: the highest]")
def evaluate(what: str, split: str, url: str | None, model: str | None, version: str | None) -> None:
    """Measure the network of a finished RUN folder, or a served model on a run's data or a data set.

    \b
    cellgate-train evaluate runs/vowels
    cellgate-train evaluate runs/vowels --split train
    cellgate-train evaluate vowels --url http://127.0.0.1:8000
    """
    if not url and (model or version):
        raise click.UsageError("--model and --version go with --url")
    if not url and not Path(what).is_dir() and what in data.names():
        raise click.UsageError(f"{what} is a data set: --url says which server to ask, or name a run folder")
    folder = finished_run(what) if Path(what).is_dir() or what not in data.names() else None
    with errors():
        from training import evaluate as local
        from training import served

        network, loaded = _subject(what, folder)
        part = loaded.test if split == "test" else loaded.train
        if url:
            scores = served.evaluate(
                served.Asked(url, model or loaded.name, version),
                network,
                loaded,
                part,
                track=lambda rows: iter(
                    track(rows, "sequences", total=len(part), disable=not sys.stdout.isatty())
                ),
            )
        else:
            scores = local.evaluate(network, loaded, part)
    _show(scores, loaded, split)


def _subject(what: str, folder: Path | None) -> "tuple[Network, DataSet]":
    """A finished run's network and data; of a data set a network that has learnt no more than its scales."""
    from training import run
    from training.config import Config
    from training.loop import new_network
    from training.tasks import of

    if folder is not None:
        done = run.read(folder)
        return done.network, done.data
    loaded = data.load(what)
    network = new_network(Config(data=what, recipe=next(iter(data.recipes(what).values()))), loaded)
    of(loaded).prepare(network, loaded)
    return network, loaded


def _show(scores: "Scores", loaded: "DataSet", split: str) -> None:
    if scores.confusion is not None:
        table = Table("class", "answers", "right", "recall", title=f"{loaded.title}, {split} part")
        rights = scores.confusion.diagonal()
        for label, row, hits in zip(loaded.labels, scores.confusion, rights, strict=True):
            table.add_row(label, str(row.sum()), str(hits), f"{hits / max(row.sum(), 1):.4f}")
        Console().print(table)
    click.echo("  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()))
