"""The checker finds what is wrong with a log, and nothing in a log that is right."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.faults.checker import Log, check
from tests.faults.client import Heard
from tests.faults.history import FEATURES, History, Piece, draw
from tests.faults.wire import Message, reply
from tests.faults.witness import Sending

CLASSES = 3
EXAMPLE = np.linspace(-1, 1, 20 * FEATURES).reshape(20, FEATURES)
NUMBERS = st.integers(0, 10_000)

OneShots = list[list[bytes]]


def one_shots_of(history: History) -> OneShots:
    """What a server would say, made up: [life][step], [classes] float32 as bytes; no two alike."""
    rng = np.random.default_rng(history.number)
    return [list(map(bytes, rng.random((len(life.utterance), CLASSES), "<f4"))) for life in history.lives]


def answer(history: History, piece: Piece, one_shot: list[bytes], step: int | None = None) -> Message:
    """A 200 to a piece; `step`: that the server believes it ends at."""
    end = piece.end if step is None else step
    begin = end - len(piece.steps) if piece.keep_all else end - 1
    output = np.stack([np.frombuffer(row, "<f4") for row in one_shot[begin:end]])
    if history.face == "predict":
        told = output if piece.keep_all else output[0]
        body = {"predictions": [{"output": told.astype(float).tolist(), "step": end}]}
        return reply("200 OK", {}, orjson.dumps(body))
    head = orjson.dumps({"outputs": [{"shape": [1, *output.shape]}], "parameters": {"step": end}})
    return reply("200 OK", {"Inference-Header-Content-Length": str(len(head))}, head + output.tobytes())


def refusal(status: int, step: int, code: str = "") -> Message:
    return reply(f"{status} No", {}, orjson.dumps({"step": step, "code": code}))


def right_log(history: History, one_shots: OneShots) -> Log:
    """Of a server that nothing befalls: each piece is answered at once, and asked for once."""
    said = [
        (Sending(history.number, number, index, "main"), answer(history, piece, one_shots[number]))
        for number, life in enumerate(history.lives)
        for index, piece in enumerate(life.pieces)
    ]
    life = history.lives[-1]
    last = refusal(410 if life.ends else 200, life.pieces[-1].end)
    return Log(said, Heard(list(said), len(said), last))


@given(number=NUMBERS)
def test_nothing_is_wrong_with_a_right_log(number: int) -> None:
    history = draw(0, number, EXAMPLE)
    one_shots = one_shots_of(history)
    assert check(history, one_shots, right_log(history, one_shots)) == []


@given(number=NUMBERS, data=st.data())
def test_one_changed_bit_is_found(number: int, data: st.DataObject) -> None:
    history = draw(0, number, EXAMPLE)
    one_shots = one_shots_of(history)
    log = right_log(history, one_shots)
    sending, _ = data.draw(st.sampled_from(log.said))
    piece = history.lives[sending.life].pieces[sending.piece]
    row = bytearray(one_shots[sending.life][piece.end - 1])
    row[data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 6))
    assume(np.isfinite(np.frombuffer(row, "<f4")).all())
    one_shots[sending.life][piece.end - 1] = bytes(row)
    assert any("differ from the one-shot run" in wrong for wrong in check(history, one_shots, log))


def _doubled(history: History, one_shots: OneShots, log: Log) -> Log:
    """The second piece is answered as if the last step of the first had been applied twice."""
    return _moved(history, one_shots, log, by=1)


def _lost(history: History, one_shots: OneShots, log: Log) -> Log:
    """The second piece is answered as if the last step of the first had never been."""
    return _moved(history, one_shots, log, by=-1)


def _moved(history: History, one_shots: OneShots, log: Log, *, by: int) -> Log:
    sending = next(sending for sending, _ in log.said if sending.piece == 1)
    life = history.lives[sending.life]
    piece = life.pieces[1]
    padded = [*one_shots[sending.life], one_shots[sending.life][0]]
    moved = answer(history, piece, padded, piece.end + by)
    pairs = [(who, moved if who == sending else message) for who, message in log.said]
    return Log(pairs, replace(log.heard, answers=pairs))


def _unanswered(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    return Log(log.said, replace(log.heard, answers=log.heard.answers[:-1]))


def _refused(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    who, _ = log.heard.answers[-1]
    pairs = [*log.said[:-1], (who, refusal(409, 10_000))]
    return Log(pairs, replace(log.heard, answers=pairs))


def _failed(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """A reply that no client heard."""
    who, _ = log.said[-1]
    return Log([*log.said, (replace(who, kind="copy"), refusal(500, 0))], log.heard)


def _two_answers(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """The stored reply, sent again, has other bytes: a space."""
    who, message = log.said[-1]
    body = message.body.replace(b'"', b' "', 1)
    return Log([*log.said, (replace(who, kind="again"), Message(message.head, body))], log.heard)


def _stale(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    """An older request is answered."""
    who, message = log.said[0]
    return Log([*log.said, (replace(who, kind="stale"), message)], log.heard)


def _behind(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    life = history.lives[-1]
    return Log(log.said, replace(log.heard, last=refusal(410 if life.ends else 200, life.pieces[-1].end - 1)))


def _gone(history: History, one_shots: OneShots, log: Log) -> Log:  # noqa: ARG001
    last = refusal(200 if history.lives[-1].ends else 410, history.lives[-1].pieces[-1].end)
    return Log(log.said, replace(log.heard, last=last))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_doubled, "is answered as step"),
        (_lost, "is answered as step"),
        (_doubled, "differ from the one-shot run"),
        (_lost, "differ from the one-shot run"),
        (_unanswered, "was never answered"),
        (_refused, "is refused: 409"),
        (_failed, "(copy) at"),
        (_two_answers, "two answers"),
        (_stale, "answered as if it were the last"),
        (_behind, "in the end it is at step"),
        (_gone, "in the end: "),
    ],
)
def test_each_fault_is_found(spoil: Callable[[History, OneShots, Log], Log], sentence: str) -> None:
    for number in range(20):
        history = next(
            found
            for shift in range(100)
            if (found := draw(0, 100 * number + shift, EXAMPLE)).face == "predict"
            and any(len(life.pieces) > 1 for life in found.lives)
        )
        one_shots = one_shots_of(history)
        spoilt = spoil(history, one_shots, right_log(history, one_shots))
        assert any(sentence in wrong for wrong in check(history, one_shots, spoilt)), history.number
