"""Compares replies with the one-shot run: each step is applied once, and each output has the same bits.

Pure: its input is a history, the one-shot outputs and a log; its output one sentence for each violation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from tests.faults.client import RETRIED, Received, decode
from tests.faults.history import History, Life, Piece
from tests.faults.wire import Message
from tests.faults.witness import Sending

Reply = tuple[Sending, Message]


@dataclass(frozen=True, slots=True)
class Log:
    """All replies of one history."""

    sent: list[Reply]  # by servers, in order, whether or not they arrived
    received: Received  # by the client


def check(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> list[str]:
    """The violations; none if the promises hold. `one_shots`: outputs by life and step."""
    return [
        f"history {history.number} ({history.api}, {history.session!r}): {violation}"
        for violation in (
            *_check_answers(history, log),
            *_check_sent(history, one_shots, log),
            *_check_last(history, log),
        )
    ]


def _check_answers(history: History, log: Log) -> Iterator[str]:
    """The client got an answer to each piece, unless it sent the next one too early."""
    answered = {(sending.life, sending.piece): answer for sending, answer in log.received.answers}
    for number, life in enumerate(history.lives):
        for index, piece in enumerate(life.pieces):
            answer = answered.get((number, index))
            if answer is None:
                yield f"life {number}, piece {index} was never answered"
            elif answer.status == 409 and piece.brings_next and _step(answer) > piece.at:
                continue  # `step` shows that it and its successor were applied
            elif answer.status != 200:
                yield f"life {number}, piece {index} at {piece.at} is refused: {_text(answer)}"


def _check_sent(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> Iterator[str]:
    """Every reply, also those that did not reach the client."""
    first: dict[tuple[int, int], bytes] = {}
    for sending, reply in log.sent:
        if sending.kind == "look":
            continue
        life = history.lives[sending.life]
        piece = life.pieces[sending.piece]
        where = f"life {sending.life}, piece {sending.piece} ({sending.kind}) at {piece.at}"
        if reply.status == 200:
            earlier = first.setdefault((sending.life, sending.piece), reply.body)
            if earlier != reply.body:
                yield f"{where}: two answers, {earlier!r} and {reply.body!r}"
            yield from (
                f"{where}: {violation}"
                for violation in _check_output(history, piece, one_shots[sending.life], reply)
            )
            if sending.kind == "stale":
                yield f"{where}: an older request is answered like the last one"
        elif not _may_be_refused(history, sending, life, piece, reply):
            yield f"{where}: {_text(reply)}"


def _check_output(history: History, piece: Piece, one_shot: Sequence[bytes], reply: Message) -> Iterator[str]:
    step, output = decode(history, reply)
    expected = one_shot[piece.at : piece.end] if piece.keep_all else one_shot[piece.end - 1 : piece.end]
    if step != piece.end:
        yield f"is answered as step {step}, not {piece.end}"
    if output != list(expected):
        num_wrong = sum(row != right for row, right in zip(output, expected, strict=False))
        yield f"{num_wrong} of {len(output)} outputs differ from the one-shot run's {len(expected)}"


def _may_be_refused(history: History, sending: Sending, life: Life, piece: Piece, reply: Message) -> bool:
    """Whether a refusal is correct for some moment at which the request may have arrived."""
    if reply.status in RETRIED:
        return True
    steps = {0} | {other.end for other in life.pieces}
    if reply.status == 409:  # the session is at a later step, or (request sent too early) at an earlier one
        step = _step(reply)
        return step in steps and (step > piece.at or (sending.kind == "early" and step < piece.at))
    if reply.status == 410 and _code(reply) == "session_gone":
        before = history.lives[sending.life - 1] if sending.life else None
        is_over = life.ends and not piece.is_end and _step(reply) == life.pieces[-1].end
        was_over = before is not None and before.ends and _step(reply) == before.pieces[-1].end
        return is_over or (was_over and sending.kind == "early")
    return reply.status == 404 and _code(reply) == "unknown_session" and sending.kind == "early"


def _check_last(history: History, log: Log) -> Iterator[str]:
    """The session's step in the store at the end: the number of steps sent."""
    last, life = log.received.last, history.lives[-1]
    if last is None:
        yield "the final step is unknown"
    elif last.status != (410 if life.ends else 200):
        yield f"finally: {_text(last)}"
    elif _step(last) != life.pieces[-1].end:
        yield f"the final step is {_step(last)}, but {life.pieces[-1].end} were sent"


def _step(reply: Message) -> int:
    return int(orjson.loads(reply.body).get("step", -1))


def _code(reply: Message) -> str:
    return str(orjson.loads(reply.body).get("code"))


def _text(reply: Message) -> str:
    return f"{reply.status} {reply.body[:200].decode(errors='replace')}"
