"""The trace that a request belongs to, as its client names it (W3C Trace Context).

It knows the header and the lines of the log; it knows nothing of spans, nor of who collects them.
"""

import re
from contextvars import ContextVar
from typing import NamedTuple

HEADER = b"traceparent"
# version - trace id - parent id - flags (W3C Trace Context, 3.2). What follows belongs to later versions.
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


class Trace(NamedTuple):
    """A trace, and the span in it whose work a log line is about."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 of them
    is_sampled: bool

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a log line."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}


# Of the request whose task this is: what is logged meanwhile names it. None where the client named no trace.
current: ContextVar[Trace | None] = ContextVar("current_trace", default=None)


def parse(value: bytes) -> Trace | None:
    """The trace that a header names; None if it is malformed, as if there were none."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Trace(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & 1))
