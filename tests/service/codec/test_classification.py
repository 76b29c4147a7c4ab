"""The classification extension: texts of the largest classes."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.codec import classification
from service.errors import InvalidField
from service.manifest import OutputSpec
from service.sequence import Array


def test_the_largest_are_first_with_index_and_label() -> None:
    y = np.array([[[0.1, 0.7, 0.2], [0.5, np.nan, 0.5]]], np.float32)
    assert classification.classify(y, 2, ["a", "b", "c"]).tolist() == [
        [["0.7:1:b", "0.2:2:c"], ["0.5:0:a", "0.5:2:c"]]
    ]
    assert classification.classify(y, 9, ())[0, 1].tolist() == ["0.5:0", "0.5:2", "nan:1"]
    assert classification.classify(np.array([[[3, 250]]], np.uint8), 1, ()).tolist() == [[["250:1"]]]


@given(
    st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]).flatmap(
        lambda dtype: arrays.arrays(np.dtype(dtype), (2, 2, 5))
    ),
    st.integers(1, 7),
)
def test_values_keep_every_digit_and_fit_the_bound(y: Array, largest: int) -> None:
    labels = ("plain", 'with "quotes"', "ä", "\n", "")
    texts: Any = classification.classify(y, largest, labels)
    assert texts.shape == (2, 2, min(largest, 5))
    spec = OutputSpec(name="y", dims=(5,), labels=labels)
    assert len(json.dumps(texts.tolist())) <= 64 + classification.classes_bytes(
        spec, y.dtype.name, 4, largest
    )
    for row, time, place in np.ndindex(texts.shape):
        value, index, label = texts[row, time, place].split(":", 2)
        assert label == labels[int(index)]
        if y.dtype != bool:
            assert np.array_equal(
                y.dtype.type(value), y[row, time, int(index)], equal_nan=y.dtype.kind == "f"
            )


@pytest.mark.parametrize("dims", [(), (2, 3)])
def test_an_output_without_one_axis_of_classes_is_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(InvalidField, match="has no classes"):
        classification.check(OutputSpec(name="y", dims=dims))
