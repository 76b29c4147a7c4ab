"""Tries a graph beside strangers: steps and rows of large and of huge numbers, which must not be noticed.

    x[0:k] before other steps       the first k answers stay the same
    x      beside other rows        its answers stay the same

Equal numbers in calls of equal shapes give equal bits. So these trials show a little look-ahead, and a little
influence of neighbours, where the answer jumps or is an integer: between calls of other shapes, amplified
rounding would explain as much.
"""

import numpy as np

from service.repository.findings import AHEAD_HINT, Findings
from service.repository.rows import Bench, Row, RowSource
from service.repository.values import STRANGERS

INFLUENCE = "rows of one call influence each other"


def try_ahead(bench: Bench, findings: Findings, source: RowSource, row: Row, steps: int) -> None:
    """Put other steps behind the first ones. Raises StartupError if that changes the answers to these."""
    for kind in STRANGERS:
        other = source.new(kind, row.steps, row.state)
        inputs = zip(row.first(steps).inputs, other.inputs, strict=True)
        changed = Row(tuple(np.concatenate([a, b[steps:]]) for a, b in inputs), row.state)
        if bench.computes(changed):
            found = bench.compare_first(changed, row, steps)
            findings.accept(found, [], "the steps after them change the answers to earlier steps", AHEAD_HINT)


def try_neighbours(bench: Bench, findings: Findings, source: RowSource, row: Row, first: Row) -> None:
    """Put other rows than `first` beside a row. Raises StartupError if that changes its answers."""
    expected = bench.at_once([row, first])[0]
    for kind in STRANGERS:
        other = source.new(kind, row.steps, first.state)
        if bench.computes(other):
            found = bench.compare(bench.at_once([row, other])[0], expected)
            findings.accept(found, [], INFLUENCE, findings.batch_hint)
