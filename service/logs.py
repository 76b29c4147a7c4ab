"""How log records look: text for a terminal, one JSON object a line for everything else."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from service.settings import Settings

CLOCK = "%H:%M:%S"
FLUSH_S = 0.1
FLUSH_LINES = 1000


class JsonFormatter(logging.Formatter):
    """One JSON object per record; `extra={"fields": {…}}` become members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line a person reads; fields follow as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", CLOCK)

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        fields = getattr(record, "fields", {})
        shown = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{super().format(record)} {shown}".rstrip()


class AccessLog:
    """One line per request, written together every `FLUSH_S`: a system call a line would cost as a step.

    A process that is killed loses the lines of that time; one that stops loses none.
    """

    def __init__(self, stream: TextIO, *, as_text: bool) -> None:
        self._stream = stream
        self._render = _text_line if as_text else _json_line
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, fields: dict[str, Any]) -> None:
        """Add a line. To be called on the event loop."""
        self._lines.append(self._render(time.time(), fields))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        self._stream.write("".join(lines))
        self._stream.flush()


def _json_line(now: float, fields: dict[str, Any]) -> str:
    line = {"time": _iso(now), "level": "info", "logger": "cellgate.access", "message": "request"} | fields
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()


def _text_line(now: float, fields: dict[str, Any]) -> str:
    shown = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{time.strftime(CLOCK, time.localtime(now))} INFO    request {shown}\n"


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


def is_text(settings: Settings) -> bool:
    """Whether log lines are for a person's eyes."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def configure(settings: Settings) -> None:
    """Send every record to stderr, once, in the form the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if is_text(settings) else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
