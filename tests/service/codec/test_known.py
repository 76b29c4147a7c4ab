"""Records with what is known ahead: each step has the later values, from steps or from the future."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.codec.records import Decoded, decode_steps
from service.errors import BadInput
from service.manifest import Manifest
from tests.service.oven_model import with_known

OVEN = with_known()
STEP = {"temperature": 1, "mode": "run", "at": "2026-01-01T00:00", "oven": "a"}


def decoded(*records: Any) -> Decoded:
    return decode_steps(list(records), OVEN, "/steps", 99)


def steps(*fuel: float) -> list[dict[str, Any]]:
    return [STEP | {"fuel": value} for value in fuel]


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=9), st.data())
def test_any_cut_of_a_sequence_has_the_same_values(fuel: list[int], data: st.DataObject) -> None:
    """The records behind a piece are those of the next one, without their targets."""
    count = len(fuel) - 2
    future = [{"fuel": value} for value in fuel]
    whole = decoded(*steps(*fuel[:count]), *future[count:])
    cut = data.draw(st.integers(0, count - 1))
    pieces = [decoded(*steps(*fuel[:cut]), *future[cut : cut + 2])] if cut else []
    pieces.append(decoded(*steps(*fuel[cut:count]), *future[count:]))
    for index, array in enumerate(whole.inputs):
        assert np.concatenate([piece.inputs[index] for piece in pieces]).tobytes() == array.tobytes()
    assert whole.inputs[2][:, :2].tolist() == [[fuel[at + 1], fuel[at + 2]] for at in range(count)]


def test_records_of_the_future_are_no_steps_and_need_no_other_column() -> None:
    more = decoded(*steps(1), {"fuel": 2, "oven": "a", "at": "2026-01-01T03:00"}, {"fuel": 3}, {"fuel": 4})
    assert [len(array) for array in more.inputs] == [1, 1, 1]
    assert more.inputs[2].tolist() == [[2, 3, 0]]
    assert more.times is not None and len(more.times.values) == 1


def test_a_target_that_is_null_is_missing_in_a_step_and_one_that_is_not_there_ends_the_steps() -> None:
    with pytest.raises(BadInput, match="null: this model takes no missing values") as caught:
        decoded(*steps(1), STEP | {"fuel": 2, "temperature": None}, {"fuel": 3}, {"fuel": 4})
    assert caught.value.pointer == "/steps/1/temperature"


@pytest.mark.parametrize(
    ("records", "pointer", "detail"),
    [
        (steps(1), "", "the forecasts need 'fuel' up to 2 steps after the last step: append records with"),
        ([*steps(1), {"fuel": 2}], "", "the forecasts need 'fuel' up to 2 steps after the last step"),
        ([*steps(1), {}, {"fuel": 3}], "/1", "no value of 'fuel', which a forecast from 1 step before needs"),
        ([*steps(1), {"fuel": 2}, {"fuel": None}], "/2/fuel", "null: this model takes no missing values"),
        ([*steps(1, 2), {"fuel": "x"}, {"fuel": 4}], "/2/fuel", "expected a number, got a string"),
        ([*steps(1), {"fuel": 2}, {"fuel": 3, "gas": 1}], "/2/gas", "the table has no column 'gas'"),
        ([*steps(1), {"fuel": 2, "oven": "b"}, {"fuel": 3}], "/1/oven", "'b' is another sequence than 'a'"),
        ([*steps(1), {"fuel": 2, "at": "noon"}, {"fuel": 3}], "/1/at", "'noon' is not a time (ISO 8601)"),
        ([{"fuel": 1}, {"fuel": 2}, {"fuel": 3}], "", "a sequence needs at least one time step"),
    ],
)
def test_a_fault_is_reported_where_it_is(records: list[Any], pointer: str, detail: str) -> None:
    with pytest.raises(BadInput) as caught:
        decoded(*records)
    assert caught.value.pointer == f"/steps{pointer}" and caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (-2, {"of": "temperature"}, "'temperature' is no number that is known ahead"),
        (-2, {"of": "mode"}, "'mode' is no number that is known ahead"),
        (-2, {"ahead": 0}, "has only one of `of` and `ahead`"),
        (-2, {"of": None}, "has only one of `of` and `ahead`"),
        (-1, {"derived": "since_previous"}, "is not known ahead"),
    ],
)
def test_a_description_that_knows_what_nobody_can_is_refused(
    place: int, change: dict[str, Any], message: str
) -> None:
    fields = OVEN.model_dump(mode="json")
    fields["table"]["columns"][place] |= change
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(fields)
    fields = OVEN.model_dump(mode="json")
    fields["table"]["time"]["spacing"] = None
    with pytest.raises(ValidationError, match="needs the spacing of the times"):
        Manifest.model_validate(fields)


def test_a_description_without_anything_ahead_has_no_new_fields() -> None:
    assert OVEN.table is not None
    written = [column.model_dump() for column in OVEN.table.columns]
    assert [column.get("ahead") for column in written] == [None] * 4 + [1, 2, 2]
    assert "of" not in written[0] and written[-2]["of"] == "fuel"
