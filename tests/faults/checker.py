"""Compares replies with the one-shot run: each step is applied once, and each output has the same bits.

Pure: its input is a history, the one-shot outputs and a log; its output one sentence for each violation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.answer import OK, RETRIED, Answer
from tests.faults.client import Received
from tests.faults.history import STREAMS, DriverName, History, Life, Piece
from tests.faults.witness import Sending

Reply = tuple[Sending, Answer]


@dataclass(frozen=True, slots=True)
class Log:
    """All replies of one history."""

    sent: list[Reply]  # by servers, in order, whether or not they arrived
    received: Received  # by the client


def check(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> list[str]:
    """The violations; none if the promises hold. `one_shots`: outputs by life and step."""
    return [
        f"history {history.number} ({history.driver}, {history.api}, {history.session!r}): {violation}"
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
            elif answer.status == 409 and piece.brings_next and answer.step > piece.at:
                continue  # `step` shows that it and its successor were applied
            elif answer.status != OK:
                yield f"life {number}, piece {index} at {piece.at} is refused: {answer}"


def _check_sent(history: History, one_shots: Sequence[Sequence[bytes]], log: Log) -> Iterator[str]:
    """Every reply, also those that did not reach the client."""
    first: dict[tuple[int, int, str], bytes] = {}
    for sending, reply in log.sent:
        if sending.kind in ("look", "begin"):
            if reply.status >= 500 and reply.status not in RETRIED:
                yield f"{sending.kind}: {reply}"
            continue
        life = history.lives[sending.life]
        piece = life.pieces[sending.piece]
        where = f"life {sending.life}, piece {sending.piece} ({sending.kind}) at {piece.at}"
        if reply.status == OK:
            earlier = first.setdefault((sending.life, sending.piece, reply.form), reply.raw)
            if earlier != reply.raw and not _may_differ(history, piece):
                yield f"{where}: two answers, {earlier!r} and {reply.raw!r}"
            yield from (
                f"{where}: {violation}" for violation in _check_output(piece, one_shots[sending.life], reply)
            )
            # A stream's session holds the replies to several requests.
            if sending.kind == "stale" and history.driver not in STREAMS:
                yield f"{where}: an older request is answered like the last one"
        elif not _may_be_refused(history, sending, life, piece, reply):
            yield f"{where}: {reply}"


def _may_differ(history: History, piece: Piece) -> bool:
    """Without a token, a request runs on the default version, which changes, and the reply says which."""
    return history.driver is DriverName.TOKENS and not piece.at


def _check_output(piece: Piece, one_shot: Sequence[bytes], reply: Answer) -> Iterator[str]:
    expected = one_shot[piece.at : piece.end] if piece.keep_all else one_shot[piece.end - 1 : piece.end]
    if reply.step != piece.end:
        yield f"is answered as step {reply.step}, not {piece.end}"
    if reply.outputs != tuple(expected):
        num_wrong = sum(row != right for row, right in zip(reply.outputs, expected, strict=False))
        yield f"{num_wrong} of {len(reply.outputs)} outputs differ from the one-shot run's {len(expected)}"


def _may_be_refused(history: History, sending: Sending, life: Life, piece: Piece, reply: Answer) -> bool:
    """Whether a refusal is correct for some moment at which the request may have arrived."""
    if reply.status in RETRIED:
        return True
    steps = {0} | {other.end for other in life.pieces}
    if reply.status == 409 and history.driver is DriverName.REWINDS and sending.kind not in ("main", "again"):
        return reply.code == "session_conflict"  # the session may have been rewound meanwhile
    if reply.status == 409:  # the session is at a later step, or (request sent too early) at an earlier one
        is_too_early = sending.kind == "early" and reply.step < piece.at
        return reply.step in steps and (reply.step > piece.at or is_too_early)
    if reply.status == 410 and reply.code == "session_gone":
        before = history.lives[sending.life - 1] if sending.life else None
        is_over = life.ends and not piece.is_end and reply.step == life.pieces[-1].end
        was_over = before is not None and before.ends and reply.step == before.pieces[-1].end
        return is_over or (was_over and sending.kind == "early")
    return reply.status == 404 and reply.code == "unknown_session" and sending.kind == "early"


def _check_last(history: History, log: Log) -> Iterator[str]:
    """The session's step in the store at the end: the number of steps sent."""
    last, life = log.received.last, history.lives[-1]
    if last is None:
        yield "the final step is unknown"
    elif last.status != (410 if life.ends else OK):
        yield f"finally: {last}"
    elif last.step != life.pieces[-1].end:
        yield f"the final step is {last.step}, but {life.pieces[-1].end} were sent"
