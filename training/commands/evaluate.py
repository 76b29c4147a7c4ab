"""`cellgate-train evaluate`."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from training.commands.common import errors


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
def evaluate(folder: Path, split: str) -> None:
    """Measure the network of a finished RUN folder.

    \b
    cellgate-train evaluate runs/vowels
    cellgate-train evaluate runs/vowels --split train
    """
    with errors():
        from training import run
        from training.evaluate import evaluate as measure

        done = run.read(folder)
        part = done.data.test if split == "test" else done.data.train
        scores = measure(done.network, done.data, part)
    if scores.confusion is not None:
        table = Table("class", "answers", "right", "recall", title=f"{done.data.title}, {split} part")
        rights = scores.confusion.diagonal()
        for label, row, hits in zip(done.data.labels, scores.confusion, rights, strict=True):
            table.add_row(label, str(row.sum()), str(hits), f"{hits / max(row.sum(), 1):.4f}")
        Console().print(table)
    click.echo("  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()))
