"""How far a run is, how fast, and when it will be done: a line that changes on a terminal, else plain lines.

It knows a clock and a stream of text; it knows nothing of files.
"""

import time
from collections.abc import Callable
from typing import TextIO

TERMINAL_EVERY_S = 0.5
LINES_EVERY_S = 10.0


class Progress:
    """Reports to a stream."""

    def __init__(
        self, stream: TextIO, done: int = 0, *, is_terminal: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`done`: sequences that an earlier run has answered."""
        self._stream, self._is_terminal, self._clock = stream, is_terminal, clock
        self._started_s = self._shown_s = clock()
        self._done_before = self.done = done
        self.failed = 0
        self._first: tuple[float, float] | None = None  # the share of the file at the first block, and when

    def add(self, num_sequences: int, num_failed: int, share: float) -> None:
        """A block is answered, with which `share` of the file is."""
        now = self._clock()
        self.done += num_sequences
        self.failed += num_failed
        if self._first is None:
            self._first = (share, now)
        if now - self._shown_s >= (TERMINAL_EVERY_S if self._is_terminal else LINES_EVERY_S):
            self._shown_s = now
            self._show(self._line(share, now))

    def finish(self) -> None:
        """Leave the terminal's line."""
        if self._is_terminal:
            self._stream.write("\r\033[K")
            self._stream.flush()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._started_s

    @property
    def rate(self) -> float:
        """Sequences a second, of this run."""
        return (self.done - self._done_before) / max(self.seconds, 1e-9)

    def _line(self, share: float, now: float) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{share:4.0%}  {self.done:,} sequences{failed}, {self.rate:,.0f}/s{self._left(share, now)}"

    def _left(self, share: float, now: float) -> str:
        if self._first is None or share <= self._first[0]:
            return ""
        first_share, first_s = self._first
        return f", {duration((1 - share) * (now - first_s) / (share - first_share))} left"

    def _show(self, line: str) -> None:
        self._stream.write(f"\r\033[K{line}" if self._is_terminal else f"{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """`48 s`, `3:05` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
