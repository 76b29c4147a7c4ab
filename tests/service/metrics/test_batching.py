"""Counts of engine calls, and the two ratios that `/models` reports."""

from service.metrics import Counts


def test_counts_add_up_and_give_occupancy_and_padding() -> None:
    counts = Counts()
    counts.add(rows=2, longest=4, steps=7)
    counts.add(rows=1, longest=1, steps=1)
    assert (counts.calls, counts.rows, counts.steps, counts.padded_steps) == (2, 3, 8, 1)
    assert (counts.occupancy, counts.padding) == (1.5, 1 / 9)


def test_without_calls_both_ratios_are_zero() -> None:
    assert (Counts().occupancy, Counts().padding) == (0.0, 0.0)
