"""Log output on stderr: text lines for a terminal, otherwise one JSON object a line.

It does not know what is logged.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from service.settings import Settings

TIME_FORMAT = "%H:%M:%S"
FLUSH_AFTER_S = 0.1
MAX_BUFFERED_LINES = 1000


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; `extra={"fields": {…}}` become its members."""

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
    """One line for each record; fields follow the message as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", TIME_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        return f"{super().format(record)} {_pairs(getattr(record, 'fields', {}))}".rstrip()


class AccessLog:
    """One line for each request, buffered for `flush_after_s` or until there are `max_lines`.

    A system call for each line would cost as much as a step of a small model. A process that is killed loses
    the buffered lines; one that stops writes them.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        as_text: bool,
        flush_after_s: float = FLUSH_AFTER_S,
        max_lines: int = MAX_BUFFERED_LINES,
    ) -> None:
        self._stream = stream
        self._flush_after_s = flush_after_s
        self._max_lines = max_lines
        self._render = _text_line if as_text else _json_line
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, fields: dict[str, Any]) -> None:
        """Add a line. Must be called on the event loop."""
        self._lines.append(self._render(time.time(), fields))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._flush_after_s, self.flush)
        elif len(self._lines) >= self._max_lines:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines."""
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
    return f"{time.strftime(TIME_FORMAT, time.localtime(now))} INFO    request {_pairs(fields)}\n"


def _pairs(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


def is_text(settings: Settings) -> bool:
    """Whether log lines are text; otherwise JSON."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def configure(settings: Settings) -> None:
    """Send every log record to stderr in the format and from the level of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if is_text(settings) else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
