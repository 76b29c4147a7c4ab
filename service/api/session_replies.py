"""A session as the API shows it. Knows records and their tensors; knows no store and no routes."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from service.api.schemas import HistoryReply, SessionReply
from service.sequence import Array
from service.sessions import History, Record

LAST_MS = 253_402_300_799_000  # the last second of the year 9999, the latest that `datetime` can express


def describe(name: str, record: Record, now_ms: int) -> SessionReply:
    """A session as the API shows it. No record makes it fail: one bad record must not fail a whole list."""
    created = datetime.fromtimestamp(min(record.created_ms, LAST_MS) / 1000, UTC)
    idle_s = max(0.0, (now_ms - record.touched_ms) / 1000)
    return SessionReply(
        session=name,
        model=record.model,
        version=record.version,
        step=record.step,
        created=created.isoformat(timespec="milliseconds"),
        idle_s=round(idle_s, 3),
        expires_in_s=round(record.ttl_ms / 1000 - idle_s, 3),
        state_bytes=len(record.state),
        rewinds=record.rewinds,
        history=_describe_history(record.history),
    )


def _describe_history(history: History | None) -> HistoryReply | None:
    if history is None or not history.last:
        return None
    return HistoryReply(
        last=history.last,
        every=history.every or None,
        checkpoints=[checkpoint.step for checkpoint in history.checkpoints],
        bytes=history.num_bytes,
    )


def nested_list(array: Array) -> Any:
    """Nested lists, of any shape; null in the place of NaN and infinities, which JSON does not have."""
    values = array.astype(object)
    values[~np.isfinite(array)] = None
    return values.tolist()
