"""`cellgate-train evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import track

from training import data
from training.commands.errors import reported_errors
from training.commands.results import show_classes, show_skill
from training.commands.run_folder import finished_run

if TYPE_CHECKING:
    from training.data.dataset import DataSet, Split
    from training.model import Network
    from training.tasks import Scores


@click.command()
@click.argument("subject", metavar="RUN|DATA")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@click.option(
    "--data", "data_file", type=click.Path(path_type=Path), help="Another file with the columns of the run's."
)
@click.option("--url", help="Evaluate a model on this server instead of the run's network.")
@click.option("--model", help="--url: the model's name.  [default: the data set's name]")
@click.option("--version", help="--url: the model's version.  [default: the highest]")
def evaluate(
    subject: str, split: str, data_file: Path | None, url: str | None, model: str | None, version: str | None
) -> None:
    """Evaluate the network of a finished RUN folder, or a served model on the data of a run or on a data set.

    \b
    cellgate-train evaluate runs/vowels
    cellgate-train evaluate runs/vowels --split train
    cellgate-train evaluate runs/mine --data new.csv
    cellgate-train evaluate vowels --url http://127.0.0.1:8000
    """
    if not url and (model or version):
        raise click.UsageError("--model and --version require --url")
    if data_file and split == "train":
        raise click.UsageError("--data is a file to test on: it has no training part")
    is_data_set = not Path(subject).is_dir() and subject in data.names()
    if is_data_set and not url:
        raise click.UsageError(f"{subject} is a data set: add --url with a server, or name a run folder")
    folder = None if is_data_set else finished_run(subject)
    if data_file and folder is None:
        raise click.UsageError("--data requires a run folder, which says how to read the file")
    with reported_errors():
        from training import evaluate as local
        from training import served_model

        network, data_set = _load(subject, folder, data_file)
        part = data_set.test if split == "test" else data_set.train
        if url:
            scores = served_model.evaluate(
                served_model.ServedModel(url, model or data_set.name, version),
                network,
                data_set,
                part,
                track=lambda rows: iter(
                    track(rows, "sequences", total=len(part), disable=not sys.stdout.isatty())
                ),
            )
        else:
            scores = local.evaluate(network, data_set, part)
        _show(scores, data_set, part, data_file.name if data_file else f"{data_set.title}, {split} part")


def _load(subject: str, folder: Path | None, data_file: Path | None) -> "tuple[Network, DataSet]":
    """A finished run's network and data; for a data set a network that knows only its scales."""
    from training import run
    from training.config import Config
    from training.loop import new_network
    from training.tasks import of

    if folder is not None:
        done = run.read(folder, data_file)
        return done.network, done.data
    data_set = data.load(subject)
    recipe = next(iter(data.recipes(subject).values()))
    network = new_network(Config(data=subject, recipe=recipe), data_set)
    of(data_set).prepare(network, data_set)
    return network, data_set


def _show(scores: "Scores", data_set: "DataSet", part: "Split", title: str) -> None:
    from training.skill import compare

    show_classes(scores, data_set, title)
    compared = compare(data_set, part, scores.metrics)
    show_skill(compared)
    click.echo("  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()))
    click.echo(compared.verdict())
