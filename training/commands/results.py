"""Prints the scores of a network beside those of the baselines, for `train` and `evaluate`."""

import math
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from training.data.dataset import DataSet
    from training.skill import Skill
    from training.tasks import Scores

MOST_CLASSES = 40  # more lines do not fit on a screen


def show_classes(scores: "Scores", data_set: "DataSet", title: str) -> None:
    """Print recall and precision of each class or label, if there are any and not too many."""
    from training.tasks.classes import by_class

    if len(data_set.labels) > MOST_CLASSES:
        return
    if scores.labels:
        _show_labels(scores, title)
    if scores.confusion is None:
        return
    table = Table("class", "true", "correct", "recall", "precision", "F1", title=escape(title))
    for one in by_class(scores.confusion, data_set.labels):
        rates = (f"{value:.4f}" for value in (one.recall, one.precision, one.f1))
        table.add_row(escape(one.label), str(one.true), str(one.correct), *rates)
    Console().print(table)


def _show_labels(scores: "Scores", title: str) -> None:
    heads = ("label", "true", "correct", "recall", "precision", "F1", "AUC", "average precision")
    table = Table(*heads, title=escape(title))
    for one in scores.labels:
        values = (one.recall, one.precision, one.f1, one.auc, one.pr_auc)
        rates = ("" if math.isnan(value) else f"{value:.4f}" for value in values)
        table.add_row(escape(one.label), str(one.true), str(one.correct), *rates)
    Console().print(table)


def show_skill(compared: "Skill") -> None:
    """Print each score beside that of the best baseline, and the notes."""
    table = Table("score", "network", "baseline", "its score", "skill")
    for row in compared.rows:
        name = f"{row.subject}, {row.score}" if row.subject else row.score
        cells = (name, row.shown(row.ours), row.baseline, row.shown(row.theirs), f"{row.skill:.0%}")
        table.add_row(*map(escape, cells))
    Console().print(table)
    for note in compared.notes:
        click.echo(f"note: {note}")


def show_runs(rows: list[dict[str, float]], summary: dict[str, dict[str, float]]) -> None:
    """Print a column for each of several runs, and for the lines of the summary by their names."""
    first, *scores = rows[0]
    table = Table("", *(f"{first} {row[first]:g}" for row in rows), *summary)
    for score in scores:
        values = (line[score] for line in (*rows, *summary.values()))
        table.add_row(score.replace("_", " "), *(f"{value:.4g}" for value in values))
    Console().print(table)
