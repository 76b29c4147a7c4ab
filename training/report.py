"""Writes the README of a run: its command, its scores, and what it beats. Knows no network."""

import math

from training.calibration import describe
from training.data.dataset import DataSet
from training.skill import Skill
from training.tasks import Scores
from training.tasks.classes import by_class
from training.versions import package_versions

MOST_CLASSES = 100  # in a table


def readme(
    command: str,
    loaded: DataSet,
    scores: Scores,
    compared: Skill,
    metrics: dict[str, float],
    pictures: dict[str, str],
    origin: str = "",
) -> str:
    """The page of a run; `pictures` are what each file shows, `origin` what the run started with."""
    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    figures = "".join(f"| {name} | {value:.4g} |\n" for name, value in metrics.items())
    shown = "".join(f"![{what}]({name})\n\n" for name, what in pictures.items())
    calibrated = "".join(f"{line[0].upper()}{line[1:]}.\n\n" for line in describe(metrics))
    start = f"{origin[0].upper()}{origin[1:]}.\n\n" if origin else ""
    return f"""# {loaded.title}

    {command}

{start}## Compared with baselines

{comparison(compared)}
{calibrated}{_classes(scores, loaded)}{_labels(scores)}{shown}## Metrics

| metric | value |
|---|---|
{figures}
The same command on the same machine with the same versions gives the same network.
Made with {versions}.
`config.json` holds every setting.

Data: {loaded.citation} ({loaded.license}).
"""


def comparison(compared: Skill) -> str:
    """The table of comparisons, the verdict, and the notes, as Markdown."""
    lines = [["of", "score", "network", "baseline", "its score", "skill"], ["---"] * 6]
    lines += [
        [row.subject, row.score, row.shown(row.ours), row.baseline, row.shown(row.theirs), f"{row.skill:.0%}"]
        for row in compared.rows
    ]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    rest = "".join(f"\n{line[0].upper()}{line[1:]}.\n" for line in (compared.verdict(), *compared.notes))
    return f"{table}{rest}"


def _classes(scores: Scores, loaded: DataSet) -> str:
    if scores.confusion is None or len(loaded.labels) > MOST_CLASSES:
        return ""
    rows = ""
    for one in by_class(scores.confusion, loaded.labels):
        rates = " | ".join(f"{value:.4f}" for value in (one.recall, one.precision, one.f1))
        rows += f"| {one.label} | {one.true} | {one.correct} | {rates} |\n"
    return f"""## Classes

| class | true | correct | recall | precision | F1 |
|---|---|---|---|---|---|
{rows}
"""


def _labels(scores: Scores) -> str:
    if not 0 < len(scores.labels) <= MOST_CLASSES:
        return ""
    rows = ""
    for one in scores.labels:
        values = (one.recall, one.precision, one.f1, one.auc, one.pr_auc)
        rates = " | ".join("" if math.isnan(value) else f"{value:.4f}" for value in values)
        rows += f"| {one.label} | {one.true} | {one.correct} | {rates} |\n"
    return f"""## Labels

| label | true | correct | recall | precision | F1 | AUC | average precision |
|---|---|---|---|---|---|---|---|
{rows}
"""
