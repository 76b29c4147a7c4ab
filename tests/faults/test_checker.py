"""The checker reports each violation in a log, and none in a correct log."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.faults.answer import Answer
from tests.faults.checker import Log, check
from tests.faults.client import Received
from tests.faults.history import FEATURES, DriverName, History, Piece, draw
from tests.faults.witness import Sending

CLASSES = 3
EXAMPLE = np.linspace(-1, 1, 20 * FEATURES).reshape(20, FEATURES)
NUMBERS = st.integers(0, 10_000)

OneShots = list[list[bytes]]


def one_shots_of(history: History) -> OneShots:
    """Invented outputs, all different: [life][step], [classes] float32 as bytes."""
    rng = np.random.default_rng(history.number)
    return [list(map(bytes, rng.random((len(life.utterance), CLASSES), "<f4"))) for life in history.lives]


def answer(piece: Piece, one_shot: list[bytes], step: int | None = None) -> Answer:
    """A 200 to a piece; `step`: the step that the reply states."""
    end = piece.end if step is None else step
    begin = end - len(piece.steps) if piece.keep_all else end - 1
    outputs = tuple(one_shot[begin:end])
    return Answer(200, end, "", outputs, "http", b"".join(outputs))


def refusal(status: int, step: int, code: str = "") -> Answer:
    return Answer(status, step, code, (), "http")


def correct_log(history: History, one_shots: OneShots) -> Log:
    """The log of a server without faults: each piece is sent once and answered."""
    sent = [
        (Sending(history.number, number, index, "main"), answer(piece, one_shots[number]))
        for number, life in enumerate(history.lives)
        for index, piece in enumerate(life.pieces)
    ]
    life = history.lives[-1]
    last = refusal(410 if life.ends else 200, life.pieces[-1].end)
    return Log(sent, Received(list(sent), len(sent), last))


@given(number=NUMBERS)
def test_a_correct_log_has_no_violation(number: int) -> None:
    history = draw(0, number, EXAMPLE)
    one_shots = one_shots_of(history)
    assert check(history, one_shots, correct_log(history, one_shots)) == []


@given(number=NUMBERS, data=st.data())
def test_one_changed_bit_is_reported(number: int, data: st.DataObject) -> None:
    history = draw(0, number, EXAMPLE)
    one_shots = one_shots_of(history)
    log = correct_log(history, one_shots)
    sending, _ = data.draw(st.sampled_from(log.sent))
    piece = history.lives[sending.life].pieces[sending.piece]
    row = bytearray(one_shots[sending.life][piece.end - 1])
    row[data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 6))
    assume(np.isfinite(np.frombuffer(row, "<f4")).all())
    one_shots[sending.life][piece.end - 1] = bytes(row)
    assert any("differ from the one-shot run" in violation for violation in check(history, one_shots, log))


def _doubled(history: History, one_shots: OneShots, log: Log) -> Log:
    """The second piece is answered as if the last step of the first had been applied twice."""
    return _moved(history, one_shots, log, by=1)


def _lost(history: History, one_shots: OneShots, log: Log) -> Log:
    """The second piece is answered as if the last step of the first had not been applied."""
    return _moved(history, one_shots, log, by=-1)


def _moved(history: History, one_shots: OneShots, log: Log, *, by: int) -> Log:
    sending = next(sending for sending, _ in log.sent if sending.piece == 1)
    life = history.lives[sending.life]
    piece = life.pieces[1]
    padded = [*one_shots[sending.life], one_shots[sending.life][0]]
    moved = answer(piece, padded, piece.end + by)
    pairs = [(other, moved if other == sending else message) for other, message in log.sent]
    return Log(pairs, replace(log.received, answers=pairs))


def _unanswered(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    return Log(log.sent, replace(log.received, answers=log.received.answers[:-1]))


def _refused(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    sending, _ = log.received.answers[-1]
    pairs = [*log.sent[:-1], (sending, refusal(409, 10_000))]
    return Log(pairs, replace(log.received, answers=pairs))


def _failed(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """A reply that did not reach the client."""
    sending, _ = log.sent[-1]
    return Log([*log.sent, (replace(sending, kind="copy"), refusal(500, 0))], log.received)


def _two_answers(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """The repeated stored reply has other bytes: an extra space."""
    sending, message = log.sent[-1]
    other = replace(message, raw=message.raw + b" ")
    return Log([*log.sent, (replace(sending, kind="again"), other)], log.received)


def _stale(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """An older request is answered."""
    sending, message = log.sent[0]
    return Log([*log.sent, (replace(sending, kind="stale"), message)], log.received)


def _behind(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    life = history.lives[-1]
    return Log(
        log.sent, replace(log.received, last=refusal(410 if life.ends else 200, life.pieces[-1].end - 1))
    )


def _ended_or_live(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    last = refusal(200 if history.lives[-1].ends else 410, history.lives[-1].pieces[-1].end)
    return Log(log.sent, replace(log.received, last=last))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_doubled, "is answered as step"),
        (_lost, "is answered as step"),
        (_doubled, "differ from the one-shot run"),
        (_lost, "differ from the one-shot run"),
        (_unanswered, "was never answered"),
        (_refused, "is refused: 409"),
        (_failed, "(copy) at"),
        (_two_answers, "two answers"),
        (_stale, "answered like the last one"),
        (_behind, "the final step is"),
        (_ended_or_live, "finally: "),
    ],
)
def test_each_violation_is_reported(change: Callable[[History, OneShots, Log], Log], sentence: str) -> None:
    for number in range(20):
        history = next(
            drawn
            for shift in range(100)
            if (drawn := draw(0, 100 * number + shift, EXAMPLE, [DriverName.HTTP])).api == "predict"
            and any(len(life.pieces) > 1 for life in drawn.lives)
        )
        one_shots = one_shots_of(history)
        changed = change(history, one_shots, correct_log(history, one_shots))
        assert any(sentence in violation for violation in check(history, one_shots, changed)), history.number
