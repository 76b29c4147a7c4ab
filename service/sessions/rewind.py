"""The rules of checkpoints: what may be kept, which steps a session can return to, and what a rewind is.

    record ─ rewind ─┬─→ the record at an earlier step; the checkpoints after it are dropped
                     ├─→ the same record: its last request was this rewind
                     └─→ an error: 409

Pure, as `rules`: they know records; they know no store, HTTP or JSON.
"""

import hashlib
from dataclasses import replace

from service.errors import InvalidField, UnknownCheckpoint
from service.sessions import rules
from service.sessions.store.history import History, HistoryLimits, HistoryRule
from service.sessions.store.record import Record


def check_rule(rule: HistoryRule, limits: HistoryLimits) -> HistoryRule:
    """The rule, if the server allows it. Raises InvalidField."""
    if rule.last > limits.max_checkpoints:
        raise InvalidField(
            f"expected at most {limits.max_checkpoints} checkpoints, got {rule.last}", pointer="/history/last"
        )
    return rule


def with_rule(history: History | None, rule: HistoryRule, limits: HistoryLimits) -> History | None:
    """A history by another rule, with the checkpoints that it leaves; None if nothing is left to store."""
    changed = (history or History()).by(rule, limits.max_bytes)
    return None if changed.is_empty else changed


def within(history: History, limits: HistoryLimits) -> History | None:
    """A history of another server, as far as this one allows it; None if nothing is left to store."""
    return with_rule(history, HistoryRule(min(history.last, limits.max_checkpoints), history.every), limits)


def steps_of(record: Record) -> list[int]:
    """The steps that the session can be rewound to: its checkpoints, and its own."""
    kept = () if record.history is None else record.history.checkpoints
    return [*[checkpoint.step for checkpoint in kept], record.step]


def state_at(record: Record, step: int, pointer: str) -> bytes:
    """The state after so many steps. Raises UnknownCheckpoint, which points at `pointer`."""
    if step == record.step:
        return record.state
    kept = () if record.history is None else record.history.checkpoints
    for checkpoint in kept:
        if checkpoint.step == step:
            return checkpoint.state
    steps = steps_of(record)
    raise UnknownCheckpoint(
        f"the session keeps the steps {', '.join(map(str, steps))}, not {step}",
        pointer=pointer,
        members={"step": record.step, "kept": steps},
    )


def history_at(record: Record, step: int) -> History | None:
    """What a copy of the session at a kept step has of its past."""
    if record.history is None:
        return None
    history = replace(record.history.before(step), rewinds=0)
    return None if history.is_empty else history


def rewind(live: Record, step: int, *, at: int | None, rewinds: int | None, now_ms: int) -> Record:
    """The session at an earlier step, or as it is if its last request was this rewind.

    `at` and `rewinds`: the session's step, and how often it was rewound before, as the client believes.
    Raises SessionConflict if it is wrong, or UnknownCheckpoint.
    """
    digest = _digest(step, at, rewinds)
    if live.digest == digest:
        return live
    if rewinds is not None:
        rules.check_rewinds(live, rewinds)
    if at not in (None, live.step):
        raise rules.at_other_step(live, at)
    state = state_at(live, step, "/step")
    history = live.history or History()
    # No request can be the last one again: its digest is that of no request with steps.
    return replace(
        live,
        state=state,
        step=step,
        at=step,
        digest=digest,
        reply=b"",
        touched_ms=now_ms,
        history=replace(history.before(step), rewinds=history.rewinds + 1),
    )


def _digest(step: int, at: int | None, rewinds: int | None) -> bytes:
    """16 bytes (BLAKE2b, RFC 7693) that tell this rewind from any other request of the session."""
    return hashlib.blake2b(f"rewind {step} {at} {rewinds}".encode(), digest_size=16).digest()
