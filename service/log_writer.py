"""Writes log lines to a file descriptor in a thread, so that a reader that stalls does not stop the server.

It knows bytes and bounds; it does not know what a line says.
"""

import os
import threading
from collections.abc import Callable

MAX_PENDING_BYTES = 1 << 20  # of lines that wait for the reader; more are dropped, and counted
MAX_WRITE_BYTES = 64 << 10  # what an empty pipe takes at once, so that lines of several processes do not mix
WAIT_S = 0.25  # for a line that should be written before the program continues
CLOSE_S = 1.0  # for the last lines


class LogWriter:
    """A bounded queue of lines, and the thread that writes them.

    Lines are dropped when the queue is full. The next line that is written after that says how many.
    """

    def __init__(
        self,
        write: Callable[[bytes], int],
        *,
        report: Callable[[int], str],
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        """`write` may block, and may write less; `report` is the line that says how many were dropped."""
        self._write = write
        self._report = report
        self._max_pending_bytes = max_pending_bytes
        self._changed = threading.Condition()
        self._pending: list[str] = []  # each one or more whole lines
        self._num_pending_bytes = 0
        self.num_dropped = 0  # lines, in all
        self._num_reported = 0
        self._is_writing = False
        self._is_stalled = False  # a wait for the reader was in vain
        self._is_closed = False
        self._thread: threading.Thread | None = None  # started by the first line

    def put(self, lines: str) -> None:
        """Queue one or more whole lines. Never blocks."""
        with self._changed:
            if self._num_pending_bytes + len(lines) > self._max_pending_bytes or self._is_closed:
                self.num_dropped += lines.count("\n")
                return
            self._pending.append(lines)
            self._num_pending_bytes += len(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float = WAIT_S) -> None:
        """Wait until everything is written. A reader that does not read is waited for once, not again."""
        with self._changed:
            if self._is_stalled:
                return
            self._is_stalled = not self._changed.wait_for(self._is_idle, seconds)

    def close(self) -> None:
        """Write what is queued, as far as the reader takes it within `CLOSE_S`, and end the thread."""
        with self._changed:
            self._changed.wait_for(self._is_idle, CLOSE_S)
            self._is_closed = True
            self._changed.notify_all()

    def _is_idle(self) -> bool:
        return not (self._pending or self._is_writing)

    def _run(self) -> None:
        while (lines := self._take()) is not None:
            content = lines.encode(errors="backslashreplace")
            try:
                while content:
                    content = content[self._write(content[: _whole_lines(content)]) :]
            except OSError:  # the reader is closed
                with self._changed:
                    self.num_dropped += content.count(b"\n")

    def _take(self) -> str | None:
        """The lines that wait, as soon as there are any; None once closed."""
        with self._changed:
            self._is_writing = self._is_stalled = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._pending or self._is_closed)
            if not self._pending:
                return None
            self._is_writing = True
            num_new = self.num_dropped - self._num_reported
            report = self._report(num_new) if num_new else ""
            self._num_reported += num_new
            lines, self._pending, self._num_pending_bytes = self._pending, [], 0
            return report + "".join(lines)


def _whole_lines(content: bytes) -> int:
    """How many bytes to write at once: as many whole lines as `MAX_WRITE_BYTES` has room for."""
    if len(content) <= MAX_WRITE_BYTES:
        return len(content)
    return content.rfind(b"\n", 0, MAX_WRITE_BYTES) + 1 or MAX_WRITE_BYTES


def stderr_writer(report: Callable[[int], str]) -> LogWriter:
    """A writer to standard error, without Python's stream, whose lock a blocked write would hold."""
    return LogWriter(lambda content: os.write(2, content), report=report)
