"""Log output on stderr: text lines for a terminal, otherwise one JSON object a line.

It does not know what is logged. What a client sends cannot make a line long, nor look like another line.
"""

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from service.log_writer import LogWriter, stderr_writer
from service.settings import Settings
from service.trace import current

TIME_FORMAT = "%H:%M:%S"
FLUSH_AFTER_S = 0.1
MAX_BUFFERED_LINES = 1000
# Characters. Lines of more have each of their texts cut; a traceback's end says most.
MAX_LINE = 2000
MAX_TEXT = 300
MAX_MESSAGE = 1500
MAX_TRACEBACK = 6000
PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # without space, quotes, = and \: a value that needs no quotes


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; `extra={"fields": {…}}` become its members."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage(), MAX_MESSAGE),
        } | _cut_all(_fields(record))
        if record.exc_info:
            line["exception"] = _cut_front(self.formatException(record.exc_info))
        return _json(line)


class TextFormatter(logging.Formatter):
    """One line for each record; fields follow the message as name=value. Tracebacks are indented below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", TIME_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        record.message = _printable(_cut(record.getMessage(), MAX_MESSAGE))
        record.asctime = self.formatTime(record, self.datefmt)
        line = f"{self.formatMessage(record)} {_pairs(_cut_all(_fields(record)))}".rstrip()
        if record.exc_info:
            below = _cut_front(self.formatException(record.exc_info)).split("\n")
            line = "\n  ".join((line, *map(_printable, below)))
        return line


class LogHandler(logging.Handler):
    """Gives records to a `LogWriter`; waits until each is written, unless the reader stalls."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    @property
    def num_dropped(self) -> int:
        """Lines dropped so far."""
        return self._writer.num_dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 — it must not fail its caller
            line = f"a log line could not be rendered: {record.name} {record.msg!r}"
        self._writer.put(f"{line}\n")
        self._writer.wait()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
        super().close()


class AccessLog:
    """One line for each request, buffered for `flush_after_s` or until there are `max_lines`.

    A system call for each line would cost as much as a step of a small model. A process that is killed loses
    the buffered lines; one that stops writes them.
    """

    def __init__(
        self,
        writer: LogWriter,
        *,
        as_text: bool,
        flush_after_s: float = FLUSH_AFTER_S,
        max_lines: int = MAX_BUFFERED_LINES,
    ) -> None:
        self._writer = writer
        self._flush_after_s = flush_after_s
        self._max_lines = max_lines
        self._render = _text_line if as_text else _json_line
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def num_dropped(self) -> int:
        """Lines dropped so far."""
        return self._writer.num_dropped

    def write(self, fields: dict[str, Any]) -> None:
        """Add a line. Must be called on the event loop."""
        now = time.time()
        line = self._render(now, fields)
        if len(line) > MAX_LINE:
            line = self._render(now, _cut_all(fields))
        self._lines.append(line)
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
        self._writer.put("".join(lines))

    def close(self) -> None:
        """Write what is left, and end."""
        self.flush()
        self._writer.close()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record, and the trace of the request that it is about, if any."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    trace = current.get()
    return fields if trace is None else fields | trace.fields


def _json_line(now: float, fields: dict[str, Any]) -> str:
    line = {"time": _iso(now), "level": "info", "logger": "cellgate.access", "message": "request"} | fields
    return f"{_json(line)}\n"


def _text_line(now: float, fields: dict[str, Any]) -> str:
    return f"{time.strftime(TIME_FORMAT, time.localtime(now))} INFO    request {_pairs(fields)}\n"


def _json(line: dict[str, Any]) -> str:
    """Only ASCII: what terminals obey, and what some readers take for the end of a line, is escaped."""
    try:
        text = orjson.dumps(line, default=str).decode()
        if text.isascii():
            return text
    except TypeError:  # a lone surrogate, as in the name of a file
        pass
    return json.dumps(line, default=str, separators=(",", ":"))


def _pairs(fields: Mapping[str, Any]) -> str:
    return " ".join([f"{name}={_value(value)}" for name, value in fields.items()])


def _value(value: Any) -> str:
    """A field's value as text; in quotes where it could be taken for more than one field."""
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(quoted)}"'


def _printable(text: str) -> str:
    """Line breaks, control characters and those that change the direction of text become escapes."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in text])


def _cut_all(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields without long texts."""
    return {
        name: _cut(value, MAX_TEXT) if isinstance(value, str) else value for name, value in fields.items()
    }


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _cut_front(text: str) -> str:
    return text if len(text) <= MAX_TRACEBACK else f"…{text[-MAX_TRACEBACK:]}"


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


def is_text(settings: Settings) -> bool:
    """Whether log lines are text; otherwise JSON."""
    return settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())


def open_access_log(settings: Settings) -> AccessLog:
    """The access log on stderr, in the format of the settings."""
    as_text = is_text(settings)
    return AccessLog(stderr_writer(_report(as_text=as_text)), as_text=as_text)


def configure(settings: Settings) -> None:
    """Send every log record to stderr in the format and from the level of the settings."""
    as_text = is_text(settings)
    handler = LogHandler(stderr_writer(_report(as_text=as_text)))
    handler.setFormatter(_formatter(as_text=as_text))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)


def num_dropped() -> int:
    """Lines dropped so far by the handlers of `configure`; those of the access log are its own."""
    handlers = logging.getLogger().handlers
    return sum(handler.num_dropped for handler in handlers if isinstance(handler, LogHandler))


def _formatter(*, as_text: bool) -> logging.Formatter:
    return TextFormatter() if as_text else JsonFormatter()


def _report(*, as_text: bool) -> Callable[[int], str]:
    """The line that says how many lines were dropped."""
    formatter = _formatter(as_text=as_text)

    def report(num_dropped: int) -> str:
        message = "log lines dropped because stderr was not read: %d"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, message, (num_dropped,), None)
        return f"{formatter.format(record)}\n"

    return report
