"""Static columns of records: one value in a sequence, wherever its records have it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.records import Decoded, decode_steps
from service.codec.request import Item
from service.errors import InvalidField
from service.manifest import Manifest
from service.predict.kept import check_unchanged, opening_state
from service.sequence import State
from service.state import StateLayout
from tests.service.oven_model import with_static

OVEN = with_static()
STATIC = {"maker": "Acme", "power": 2.5, "depth": 3}


class Oven:
    """A model as far as what is kept needs it."""

    manifest: Manifest = OVEN
    layout: StateLayout = StateLayout.of(OVEN)
    initial_state: State = StateLayout.of(OVEN).initial()


def decoded(*changes: dict[str, Any]) -> Decoded:
    """Records with these fields beside those of a step."""
    step = {"temperature": 1, "mode": "run", "at": "2026-01-01T00:00"}
    return decode_steps([step | change for change in changes], OVEN, "/steps", 99)


def refusal(*changes: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(InvalidField) as caught:
        decoded(*changes)
    return caught.value.pointer, caught.value.detail


@given(st.lists(st.sampled_from([{}, STATIC, STATIC | {"power": None}, {"power": 2.5}]), max_size=4))
def test_the_values_are_those_of_any_record_that_has_them(others: list[dict[str, Any]]) -> None:
    kept = decoded(*others, STATIC).kept
    assert [None if one is None else one.tolist() for one in kept] == [1, [2.5, 3]]
    assert decoded(STATIC, *others).kept[1].tolist() == [2.5, 3]  # type: ignore[union-attr]


def test_records_without_static_columns_are_later_steps_of_a_session() -> None:
    assert decoded({}, {}).kept == (None, None)
    state = opening_state(Oven(), Item((), kept=decoded(STATIC).kept))
    check_unchanged(Oven(), Item((), kept=decoded({}).kept), state)
    check_unchanged(Oven(), Item((), kept=decoded(STATIC).kept), state)


@pytest.mark.parametrize(
    ("records", "pointer", "detail"),
    [
        ([STATIC, STATIC | {"depth": 4}], "/1/depth", "4 is another value of 'depth' than 3 before"),
        ([STATIC, {}, {"maker": "Zeta"}], "/2/maker", "'Zeta' is another value of 'maker' than 'Acme'"),
        ([{"power": 1}], "/0", "no value of 'depth': the static columns of a sequence are given together"),
        ([{}, STATIC | {"depth": "deep"}], "/1/depth", "expected a number, got a string"),
        ([STATIC | {"power": "NA"}], "/0/power", "null: this model takes no missing values"),
        ([{}, {}, STATIC | {"maker": ["Acme"]}], "/2/maker", "expected a category, got a list"),
        ([STATIC | {"power": 1e39}], "/0/power", "1e+39 does not fit into float32"),
    ],
)
def test_a_fault_is_reported_where_it_is(records: list[dict[str, Any]], pointer: str, detail: str) -> None:
    at, text = refusal(*records)
    assert at == f"/steps{pointer}" and text.startswith(detail)


@pytest.mark.parametrize(
    ("change", "column"), [({"depth": 4}, "depth"), ({"power": 0}, "power"), ({"maker": "Zeta"}, "maker")]
)
def test_a_value_that_differs_from_the_session_is_refused_by_its_column(
    change: dict[str, Any], column: str
) -> None:
    state = opening_state(Oven(), Item((), kept=decoded(STATIC).kept))
    assert np.array_equal(state[-2], [2.5, 3])
    with pytest.raises(InvalidField, match=f"the static column '{column}' differs from that at the start"):
        check_unchanged(Oven(), Item((), kept=decoded(STATIC | change).kept), state)


def test_a_sequence_that_begins_without_them_is_refused() -> None:
    with pytest.raises(InvalidField, match="the static column 'maker' is missing: it must be given with"):
        opening_state(Oven(), Item((), kept=decoded({}).kept))
