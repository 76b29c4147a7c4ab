"""Cars per hour on an interstate from numbers alone, for comparison with `traffic`.

The same hours, parts and recipe without the sky and the holidays: the difference shows the value of these two
inputs.
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
    numeric = tuple(input_ for input_ in whole.inputs if input_.kind == "numeric")
    assert whole.inputs[: len(numeric)] == numeric, "their columns come first"
    width = sum(input_.columns for input_ in numeric)
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
