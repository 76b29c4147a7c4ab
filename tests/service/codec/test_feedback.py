"""Which numbers of a step a model forecasts itself, and which values its outputs have for them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.codec.feedback import Fed, column_names, feedback_of
from service.manifest import InputSpec, Manifest

LEVELS = (0.1, 0.5, 0.9)
THREE = Fed("x", 0, 0, 0, (0, 1, 2), LEVELS)


def manifest(outputs: list[dict[str, Any]], inputs: list[dict[str, Any]] | None = None) -> Manifest:
    inputs = inputs or [{"name": "x", "dims": [2], "features": ["a", "b"]}]
    return Manifest.model_validate({"task": "forecast", "inputs": inputs, "outputs": outputs})


def forecast(feature: str, **fields: Any) -> dict[str, Any]:
    return {"feature": feature, **fields}


def test_the_forecasts_one_step_ahead_are_fed_back_in_the_order_of_the_quantiles() -> None:
    y = {
        "name": "y",
        "dims": [4],
        "forecasts": [
            forecast("b", quantile=0.9), forecast("b", steps=4), forecast("b", quantile=0.1), forecast("a"),
        ],
    }  # fmt: skip
    assert feedback_of(manifest([y])) == (
        Fed("a", 0, 0, 0, (3,)),
        Fed("b", 0, 1, 0, (2, 0), (0.1, 0.9)),
    )


def test_of_two_outputs_the_first_that_forecasts_a_feature_counts() -> None:
    outputs: list[dict[str, Any]] = [
        {"name": "y"},
        {"name": "z", "forecasts": [forecast("a")]},
        {"name": "w", "forecasts": [forecast("a")]},
    ]
    assert feedback_of(manifest(outputs)) == (Fed("a", 0, 0, 1, (0,)),)


@pytest.mark.parametrize(
    ("input_", "is_fed"),
    [
        ({"dims": [2]}, True),
        ({"dims": [3]}, False),
        ({"dims": [2], "dtype": "int64"}, False),
        ({"dims": [2], "kind": "image"}, False),
    ],
)
def test_an_output_with_the_name_and_shape_of_an_input_forecasts_it(
    input_: dict[str, Any], is_fed: bool
) -> None:
    found = feedback_of(manifest([{"name": "x", "dims": [2]}], [{"name": "x", **input_}]))
    assert [one.name for one in found] == (["x[0]", "x[1]"] if is_fed else [])


def test_a_number_without_a_name_has_one() -> None:
    assert column_names(InputSpec(name="x")) == ("x",)
    assert column_names(InputSpec(name="x", dims=(2,))) == ("x[0]", "x[1]")
    assert column_names(InputSpec(name="x", dims=(2,), features=("a", "b"))) == ("a", "b")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"forecasts": [forecast("c")]}, "'c', which must be one of the features \\('a', 'b'\\)"),
        ({"forecasts": [forecast("a")] * 2}, "2 forecasts for 1 values"),
        ({"dims": [2], "forecasts": [forecast("a")] * 2}, "two forecasts are of the same value"),
        ({"dims": [2], "forecasts": [forecast("a"), forecast("a", quantile=0.5)]}, "of the same value"),
        ({"kind": "logits", "forecasts": [forecast("a")]}, "1 forecasts for 1 logits"),
        ({"forecasts": [forecast("a", quantile=1.0)]}, "less than 1"),
    ],
)
def test_a_manifest_whose_forecasts_contradict_it_is_refused(output: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        manifest([{"name": "y", **output}])


@pytest.mark.parametrize(
    ("quantiles", "place"),
    [((), 0), ((0.5,), 0), ((0.1, 0.5, 0.9), 1), ((0.4, 0.6), 0), ((0.05, 0.2), 1)],
)
def test_the_middle_is_the_quantile_next_to_one_half(quantiles: tuple[float, ...], place: int) -> None:
    places = tuple(range(1, 1 + max(1, len(quantiles))))
    outputs = np.arange(10, dtype=np.float32).reshape(2, 5)
    assert Fed("x", 0, 0, 0, places, quantiles).middle(outputs).tolist() == [1 + place, 6 + place]


@pytest.mark.parametrize(
    ("chance", "value"), [(0.1, 0), (0.3, 2), (0.5, 4), (0.7, 14), (0.9, 24), (0.0, -1), (0.95, 26.5)]
)
def test_a_drawn_value_is_on_the_line_between_two_quantiles(chance: float, value: float) -> None:
    drawn = THREE.draw(np.array([[0, 4, 24]], np.float32), np.array([chance]))
    assert drawn.tolist() == pytest.approx([value])


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), st.integers(0, 2**32))
def test_of_many_drawn_values_each_quantile_has_its_share_below(values: list[float], seed: int) -> None:
    chances = np.sort(np.random.default_rng(seed).random(200))
    outputs = np.tile(np.sort(np.array(values)), (200, 1))
    drawn = THREE.draw(outputs, chances)
    assert (np.diff(drawn) >= -1e-9).all(), "a greater chance is a greater value"
    for place, level in enumerate(LEVELS):
        below = chances < level
        assert (drawn[below] <= outputs[0, place] + 1e-9).all()
        assert (drawn[~below] >= outputs[0, place] - 1e-9).all()
