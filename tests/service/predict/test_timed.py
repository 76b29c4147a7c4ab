"""The times of steps: any cut of a sequence into requests gives the same numbers and the same last time."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.records import decode_steps
from service.codec.request import Item
from service.errors import InvalidField
from service.manifest import Manifest
from service.predict.timed import with_times
from service.sequence import Array, State
from service.state import LAST_TIME, NO_STEP, TIMED, UNTIMED, StateLayout
from tests.service.oven_model import MANIFEST

OVEN = Manifest.model_validate(MANIFEST)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Oven(NamedTuple):
    """A model as far as times need it."""

    manifest: Manifest = OVEN
    layout: StateLayout = StateLayout.of(OVEN)
    initial_state: State = StateLayout.of(OVEN).initial()


OVENS = Oven()


def item_of(*times: str) -> Item:
    records = [{"temperature": 1, "mode": "run", "at": time} for time in times]
    inputs, kept, read = decode_steps(records, OVEN, "/steps", 99)
    return Item(inputs, kept=kept, times=read)


def state(seconds: float, status: float) -> State:
    return (OVENS.initial_state[0], np.array((seconds, status)))


def run(times: list[str], before: State) -> tuple[Array, State]:
    """The minutes since the previous steps, and the state after them."""
    item = with_times(OVENS, item_of(*times), before)
    assert item.times is None and len(item.inputs) == 3
    return item.inputs[0][:, 1], state(float(item.inputs[-1][-1]), TIMED)


@given(gaps=st.lists(st.integers(0, 10**7), min_size=1, max_size=8), cuts=st.sets(st.integers(1, 7)))
def test_any_cut_gives_the_same_numbers(gaps: list[int], cuts: set[int]) -> None:
    moments = [START + timedelta(seconds=sum(gaps[: n + 1])) for n in range(len(gaps))]
    times = [moment.isoformat() for moment in moments]
    whole, after = run(times, OVENS.initial_state)
    assert whole.tolist() == [0.0, *(np.float32(gap / 60) for gap in gaps[1:])]
    ends = sorted({cut for cut in cuts if cut < len(times)} | {len(times)})
    current, pieces, start = OVENS.initial_state, [], 0
    for end in ends:
        piece, current = run(times[start:end], current)
        pieces.append(piece)
        start = end
    assert (np.concatenate(pieces) == whole).all() and (current[1] == after[1]).all()


def test_the_hour_that_a_clock_shows_twice_is_told_by_the_step_before() -> None:
    first, after = run(["2026-10-25T02:30"], OVENS.initial_state)
    second, _ = run(["2026-10-25T02:10", "2026-10-25T03:00"], after)
    assert first.tolist() == [0] and second.tolist() == [40, 50]


@pytest.mark.parametrize(
    ("times", "before", "pointer"),
    [
        (["2026-01-01T00:05", "2026-01-01T00:04"], state(0, NO_STEP), "/steps/1/at"),
        (["1969-12-31T00:00"], state(0, TIMED), "/steps/0/at"),
        (["noon"], state(0, NO_STEP), "/steps/0/at"),
        (["2026-01-01T00:00"], state(0, UNTIMED), "/steps/0"),
        (["2026-03-29T02:30"], state(0, NO_STEP), "/steps/0/at"),  # the clock skips it
    ],
    ids=["back", "before the session's", "no time", "unknown", "skipped"],
)
def test_a_time_that_is_none_is_refused_at_its_place(times: list[str], before: State, pointer: str) -> None:
    with pytest.raises(InvalidField) as caught:
        run(times, before)
    assert caught.value.pointer == pointer


def test_rows_are_left_as_they_are() -> None:
    rows = {"numbers": [[1, 5]], "mode": ["run"]}
    inputs, kept, times = decode_steps(rows, OVEN, "", 9)
    item = Item(inputs, kept=kept, times=times)
    assert with_times(OVENS, item, OVENS.initial_state) is item


def test_a_named_state_has_no_time() -> None:
    """New sequences begin from it, and have no step before their first."""
    layout = OVENS.layout
    assert LAST_TIME in [tensor.name for tensor in layout.tensors] and set(layout.recurrent) == {"h"}
    named = layout.with_recurrent({"h": np.ones(2, np.float32)})
    assert named[1].tolist() == [0, NO_STEP]


def with_calendar() -> Oven:
    numbers, mode = MANIFEST["inputs"]
    table = MANIFEST["table"]
    added = {"name": "hour_sin", "kind": "number", "input": "numbers", "place": 2, "derived": "hour_sin"}
    inputs = [numbers | {"dims": [3], "features": [*numbers["features"], "hour_sin"], "units": []}, mode]
    columns = [*table["columns"][:2], table["columns"][2] | {"unit": "min"}, added]
    made = Manifest.model_validate(MANIFEST | {"inputs": inputs, "table": table | {"columns": columns}})
    return Oven(made, StateLayout.of(made), StateLayout.of(made).initial())


def test_the_calendar_is_that_of_the_zone_whatever_was_before() -> None:
    model = with_calendar()
    records = [{"temperature": 1, "mode": "run", "at": f"2026-07-01T{hour:02}:00Z"} for hour in (4, 10)]
    whole: list[Array] = []
    pieces: list[Array] = []
    for cut in (records, records[:1], records[1:]):
        inputs, kept, read = decode_steps(cut, model.manifest, "/steps", 99)
        made = with_times(model, Item(inputs, kept=kept, times=read), model.initial_state).inputs[0]
        (whole if cut is records else pieces).append(made[:, [0, 2]])
    assert np.concatenate(pieces).tobytes() == whole[0].tobytes()
    assert whole[0].tolist() == [[1, 1], [1, np.float32(np.sin(np.pi))]]  # 6 and 12 o'clock in Berlin
