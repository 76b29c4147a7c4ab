"""Cars an hour on an interstate from numbers alone: the yardstick of `traffic`.

The same hours, parts and recipe, without the sky in words and without the holidays: what these two inputs are
good for is the difference.
"""

from collections.abc import Mapping
from dataclasses import replace

from training.config import Recipe
from training.data import traffic
from training.data.dataset import DataSet, Split

RECIPES: Mapping[str, Recipe] = traffic.RECIPES


def load() -> DataSet:
    """Inputs: `x` traffic and weather in numbers with gaps, `clock`. Raises FetchError."""
    whole = traffic.load()
    numeric = tuple(given for given in whole.inputs if given.kind == "numeric")
    assert whole.inputs[: len(numeric)] == numeric, "their columns come first"
    width = sum(given.columns for given in numeric)
    assert whole.validation is not None
    return replace(
        whole,
        name="traffic_numbers",
        title="Interstate traffic: numbers alone",
        inputs=numeric,
        train=_cut(whole.train, width),
        validation=_cut(whole.validation, width),
        test=_cut(whole.test, width),
        beside="traffic",
    )


def _cut(split: Split, width: int) -> Split:
    return Split(tuple(sequence[:, :width].copy() for sequence in split.sequences), split.targets)
