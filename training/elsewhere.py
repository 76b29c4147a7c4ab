"""How far scores move on other processors, where the same recipes and seeds were trained. Knows no run.

A processor's instructions decide in which order a sum is rounded. After some hundred updates the last digits
have become other weights, and early stopping keeps another epoch. So the same command gives other scores.
"""

from itertools import combinations
from statistics import median
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict


class Elsewhere(BaseModel):
    """The scores of the same recipe and seeds on another processor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: str  # its name on the page
    processor: str = ""  # as the runs recorded it
    seeds: list[dict[str, float]]


class Row(NamedTuple):
    """One score of a data set: by processor, the score of every seed, in the order of the seeds."""

    title: str
    score: str
    here: list[float]
    elsewhere: dict[str, list[float]]

    @property
    def largest(self) -> float:
        """The largest difference between the medians of two processors."""
        medians = [median(scores) for scores in (self.here, *self.elsewhere.values())]
        return max(abs(one - other) for one, other in combinations(medians, 2))

    def deviations(self) -> tuple[float, float]:
        """The standard deviations between processors for one seed, and between seeds on one processor."""
        count = min(map(len, (self.here, *self.elsewhere.values())))
        scores = np.array([one[:count] for one in (self.here, *self.elsewhere.values())])
        of_processors, of_seeds = (scores.var(axis=axis, ddof=1).mean() for axis in (0, 1))
        return float(np.sqrt(of_processors)), float(np.sqrt(of_seeds))


HEAD = """
## Another processor

The same command gives other scores on another processor. The instructions that PyTorch uses there decide in
which order sums are rounded; after some hundred updates the last digits have become other weights, and early
stopping keeps another epoch. Measured for the same recipes and seeds, as medians over seeds:

"""
TAIL = """
The last two columns are standard deviations: of one seed between processors, and of one processor between
seeds. Where they are alike, another processor counts like another seed, and the range over seeds in the first
table says how far a figure moves. {names}
"""


def write(rows: list[Row], processors: dict[str, str]) -> str:
    """The section of the page; empty without rows. `processors`: what each name stands for."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row.elsewhere))
    head = ["data", "score", "above", *names, "largest difference", "processors ±", "seeds ±"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        medians = [_short(median(row.elsewhere[name])) if name in row.elsewhere else "" for name in names]
        spread = (row.largest, *row.deviations())
        lines.append([row.title, row.score, _short(median(row.here)), *medians, *map(_short, spread)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    known = [f"{name}: {processors[name]}" for name in names if processors.get(name)]
    return f"{HEAD}{table}{TAIL.format(names='; '.join(known) + '.' if known else '')}"


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.4g}"
