"""Holds what servers said against the one-shot run: each step applied once, each output the same bits.

Pure: a history, the one-shot outputs and a log go in, and sentences come out, one for each fault.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from tests.faults.client import TRY_AGAIN, Heard, decode
from tests.faults.history import History, Life, Piece
from tests.faults.wire import Message
from tests.faults.witness import Sending

Reply = tuple[Sending, Message]


@dataclass(frozen=True, slots=True)
class Log:
    """All that was said about one history."""

    said: list[Reply]  # by servers, in order, heard or not
    heard: Heard  # by the client


def check(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> list[str]:
    """What is wrong, in words; nothing, if the promises were kept. One-shot outputs by life and step."""
    return [
        f"history {history.number} ({history.face}, {history.session!r}): {wrong}"
        for wrong in (
            *_check_answers(history, log),
            *_check_said(history, one_shots, log),
            *_check_last(history, log),
        )
    ]


def _check_answers(history: History, log: Log) -> Iterator[str]:
    """The client got an answer to each piece; only where it sent the next one too early, it may lack one."""
    answered = {(sending.life, sending.piece): answer for sending, answer in log.heard.answers}
    for number, life in enumerate(history.lives):
        for index, piece in enumerate(life.pieces):
            answer = answered.get((number, index))
            if answer is None:
                yield f"life {number}, piece {index} was never answered"
            elif answer.status == 409 and piece.brings_next and _step(answer) > piece.at:
                continue  # it was applied, as `step` says, and so was its successor
            elif answer.status != 200:
                yield f"life {number}, piece {index} at {piece.at} is refused: {_told(answer)}"


def _check_said(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> Iterator[str]:
    """Every reply, also those that no client heard."""
    first: dict[tuple[int, int], bytes] = {}
    for sending, reply in log.said:
        if sending.kind == "look":
            continue
        life = history.lives[sending.life]
        piece = life.pieces[sending.piece]
        where = f"life {sending.life}, piece {sending.piece} ({sending.kind}) at {piece.at}"
        if reply.status == 200:
            kept = first.setdefault((sending.life, sending.piece), reply.body)
            if kept != reply.body:
                yield f"{where}: two answers, {kept!r} and {reply.body!r}"
            yield from (
                f"{where}: {wrong}" for wrong in _check_output(history, piece, one_shots[sending.life], reply)
            )
            if sending.kind == "stale":
                yield f"{where}: an older request is answered as if it were the last"
        elif not _may_be_refused(history, sending, life, piece, reply):
            yield f"{where}: {_told(reply)}"


def _check_output(history: History, piece: Piece, one_shot: Sequence[bytes], reply: Message) -> Iterator[str]:
    step, output = decode(history, reply)
    wanted = one_shot[piece.at : piece.end] if piece.keep_all else one_shot[piece.end - 1 : piece.end]
    if step != piece.end:
        yield f"is answered as step {step}, not {piece.end}"
    if output != list(wanted):
        wrong = sum(got != right for got, right in zip(output, wanted, strict=False))
        yield f"{wrong} of {len(output)} outputs differ from the one-shot run's {len(wanted)}"


def _may_be_refused(history: History, sending: Sending, life: Life, piece: Piece, reply: Message) -> bool:
    """Whether a refusal can be true of some moment at which the request may have arrived."""
    if reply.status in TRY_AGAIN:
        return True
    steps = {0} | {other.end for other in life.pieces}
    if reply.status == 409:  # the session is further on, or (sent too early) not yet there
        step = _step(reply)
        return step in steps and (step > piece.at or (sending.kind == "early" and step < piece.at))
    if reply.status == 410 and _code(reply) == "session_gone":
        before = history.lives[sending.life - 1] if sending.life else None
        is_over = life.ends and not piece.is_end and _step(reply) == life.pieces[-1].end
        was_over = before is not None and before.ends and _step(reply) == before.pieces[-1].end
        return is_over or (was_over and sending.kind == "early")
    return reply.status == 404 and _code(reply) == "unknown_session" and sending.kind == "early"


def _check_last(history: History, log: Log) -> Iterator[str]:
    """The store's own word when all is over: each step applied once makes this the step."""
    last, life = log.heard.last, history.lives[-1]
    if last is None:
        yield "nobody could say where it is in the end"
    elif last.status != (410 if life.ends else 200):
        yield f"in the end: {_told(last)}"
    elif _step(last) != life.pieces[-1].end:
        yield f"in the end it is at step {_step(last)}, {life.pieces[-1].end} were sent"


def _step(reply: Message) -> int:
    return int(orjson.loads(reply.body).get("step", -1))


def _code(reply: Message) -> str:
    return str(orjson.loads(reply.body).get("code"))


def _told(reply: Message) -> str:
    return f"{reply.status} {reply.body[:200].decode(errors='replace')}"
