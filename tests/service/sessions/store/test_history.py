"""Which states a session keeps, within which bounds, and how they are stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sessions.store.history import Checkpoint, History, HistoryRule

COUNTS = st.integers(0, 2**32 - 1)
HISTORIES = st.builds(
    History,
    last=COUNTS,
    every=COUNTS,
    rewinds=COUNTS,
    checkpoints=st.lists(st.builds(Checkpoint, COUNTS, st.binary(max_size=9)), max_size=4).map(tuple),
)
ROOMY = 1 << 20


def steps(history: History) -> list[int]:
    return [checkpoint.step for checkpoint in history.checkpoints]


def at(*steps: int) -> list[Checkpoint]:
    return [Checkpoint(step, b"%4d" % step) for step in steps]


@given(HISTORIES)
def test_a_history_is_read_as_it_was_written(history: History) -> None:
    assert History.unpack(history.pack()) == history


@given(HISTORIES, st.data())
def test_a_history_of_another_length_is_refused(history: History, data: st.DataObject) -> None:
    packed = history.pack()
    with pytest.raises(ValueError, match="the history has"):
        History.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(ValueError, match="the history has"):
        History.unpack(packed + b"\0")


def test_the_states_before_the_last_requests_are_kept() -> None:
    history = History(last=2)
    for step in (0, 3, 4, 9):
        history = history.add(at(step), ROOMY)
    assert steps(history) == [4, 9]


def test_of_every_ten_steps_the_first_state_at_or_after_each_multiple_is_kept() -> None:
    history = History(last=9, every=10)
    for step in (0, 7, 12, 19, 20, 21, 45):
        history = history.add(at(step), ROOMY)
    assert steps(history) == [0, 12, 20, 45]


def test_the_oldest_are_dropped_where_the_bytes_do_not_suffice() -> None:
    history = History(last=9).add(at(1, 2, 3), 8)
    assert steps(history) == [2, 3] and history.num_bytes == 8
    assert steps(history.add(at(4), 3)) == []


def test_another_rule_drops_what_it_does_not_keep() -> None:
    history = History(last=9, rewinds=2).add(at(1, 2, 3), ROOMY)
    assert steps(history.by(HistoryRule(1), ROOMY)) == [3]
    off = history.by(HistoryRule(0), ROOMY)
    assert steps(off) == [] and not off.is_empty, "it still knows how often it was rewound"
    assert History().is_empty


def test_the_checkpoints_from_a_step_on_are_left_out() -> None:
    assert steps(History(last=9).add(at(1, 2, 3), ROOMY).before(2)) == [1]


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 40), st.integers(1, 9))
def test_a_request_is_cut_at_the_last_multiples_within_it(
    start: int, length: int, every: int, last: int
) -> None:
    stop = start + length
    expected = [step for step in range(start + 1, stop) if step % every == 0]
    assert list(History(last=last, every=every).multiples(start, stop)) == expected[-last:]


@pytest.mark.parametrize("history", [History(), History(last=3), History(every=3)])
def test_other_requests_are_not_cut(history: History) -> None:
    assert not history.multiples(0, 100)
