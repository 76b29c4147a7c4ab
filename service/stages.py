"""How long an inference request takes in each of its stages. It knows no request; the use cases measure.

decode ─ queue ─ run ─ encode            a sequence without a session
decode ─ queue ─ commit ─ decode ─ queue ─ run ─ encode ─ commit ─ encode
           │        └ the session is read                    └ and written
           └ the session's turn
"""

from time import perf_counter
from typing import Any

STAGES = ("decode", "queue", "run", "commit", "encode")
# Milliseconds (W3C Server Timing, 3.1), to the microsecond.
_HEADER = b"decode;dur=%.3f, queue;dur=%.3f, run;dur=%.3f, commit;dur=%.3f, encode;dur=%.3f"


class Stages:
    """Seconds of one request in each stage, by a clock that is read where one stage ends and the next begins.

    Of a request of several sequences, decode, commit and encode are sums; queue and run are those of the
    sequence that took longest in both together.
    """

    __slots__ = ("_since", "commit_s", "decode_s", "encode_s", "queue_s", "run_s")

    def __init__(self) -> None:
        """Decoding begins now."""
        self.decode_s = self.queue_s = self.run_s = self.commit_s = self.encode_s = 0.0
        self._since = perf_counter()

    def decoded(self) -> None:
        """What took place since the last call was decoding, and checks of what was decoded."""
        now = perf_counter()
        self.decode_s += now - self._since
        self._since = now

    def queued(self) -> None:
        """It was waiting."""
        now = perf_counter()
        self.queue_s += now - self._since
        self._since = now

    def computed(self, run_s: float) -> None:
        """It was computing: `run_s` in the model, the rest waiting for it."""
        now = perf_counter()
        self.queue_s += now - self._since - run_s
        self.run_s += run_s
        self._since = now

    def exclude(self, seconds: float) -> None:
        """So much of the time since the last call was spent on waiting for the client: it is in no stage."""
        self._since += seconds

    def committed(self) -> None:
        """It was an operation of the session store."""
        now = perf_counter()
        self.commit_s += now - self._since
        self._since = now

    def encoded(self) -> None:
        """It was encoding."""
        now = perf_counter()
        self.encode_s += now - self._since
        self._since = now

    def merge(self, sequence: "Stages") -> None:
        """Add the stages of one of several sequences, which has just ended."""
        self.decode_s += sequence.decode_s
        self.commit_s += sequence.commit_s
        self.encode_s += sequence.encode_s
        if sequence.queue_s + sequence.run_s > self.queue_s + self.run_s:
            self.queue_s, self.run_s = sequence.queue_s, sequence.run_s
        self._since = sequence._since

    def header(self) -> bytes:
        """The value of the header Server-Timing."""
        return _HEADER % (
            self.decode_s * 1e3,
            self.queue_s * 1e3,
            self.run_s * 1e3,
            self.commit_s * 1e3,
            self.encode_s * 1e3,
        )

    def add_to(self, line: dict[str, Any]) -> None:
        """Add the fields of a line of the access log: milliseconds, in whole microseconds."""
        line["decode_ms"] = self.decode_s * 1e6 // 1 / 1e3  # `round` takes five times as long
        line["queue_ms"] = self.queue_s * 1e6 // 1 / 1e3
        line["run_ms"] = self.run_s * 1e6 // 1 / 1e3
        line["commit_ms"] = self.commit_s * 1e6 // 1 / 1e3
        line["encode_ms"] = self.encode_s * 1e6 // 1 / 1e3
