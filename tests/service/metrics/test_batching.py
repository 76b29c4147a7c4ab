"""Counts of the steps that engine calls computed."""

from service.metrics import Counts


def test_true_steps_and_padding_add_up() -> None:
    counts = Counts()
    counts.add(rows=2, longest=4, steps=7)
    counts.add(rows=1, longest=1, steps=1)
    assert (counts.steps, counts.padded_steps) == (8, 1)
