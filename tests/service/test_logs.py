"""Log lines: text or JSON, and an access log that writes many lines at once."""

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.logs import AccessLog, JsonFormatter, TextFormatter, configure, is_text
from service.settings import Settings

CREATED = 1_700_000_000.125


class Stream(io.StringIO):
    """Keeps what each flush writes."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self.flushed: list[str] = []
        self._is_terminal = is_terminal

    def flush(self) -> None:
        self.flushed.append(self.getvalue())
        self.seek(0)
        self.truncate()

    def isatty(self) -> bool:
        return self._is_terminal


def record(message: str, *arguments: object, **attributes: Any) -> logging.LogRecord:
    made = logging.LogRecord("service.app", logging.WARNING, "app.py", 1, message, arguments, None)
    made.created = CREATED
    made.__dict__.update(attributes)
    return made


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger without handlers, restored afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = []
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_json_has_time_level_logger_message_and_fields() -> None:
    line = JsonFormatter().format(record("%d models", 3, fields={"status": 200, "path": "/predict"}))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.125+00:00",
        "level": "warning",
        "logger": "service.app",
        "message": "3 models",
        "status": 200,
        "path": "/predict",
    }


def test_json_has_the_exception_and_stays_one_line() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info(), fields={"folder": object()}))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: a\nb")
    assert json.loads(line)["folder"].startswith("<object")


def test_text_has_time_level_message_and_fields() -> None:
    line = TextFormatter().format(record("%d models", 3, fields={"status": 200}))
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING 3 models status=200", line)
    assert TextFormatter().format(record("ready")).endswith("ready")


@pytest.mark.parametrize("as_text", [True, False])
def test_an_access_line_looks_like_any_other_line(as_text: bool) -> None:
    """The access log renders its lines without a log record, so the two ways are held equal here."""
    stream, fields = Stream(), {"status": 200, "path": "/predict"}

    async def write() -> None:
        log = AccessLog(stream, as_text=as_text)
        log.write(fields)
        log.flush()

    asyncio.run(write())
    formatter = TextFormatter() if as_text else JsonFormatter()
    same = record("request", fields=fields, name="cellgate.access", levelno=logging.INFO, levelname="INFO")
    [line] = stream.flushed
    if as_text:
        assert line[8:] == f"{formatter.format(same)}\n"[8:]
        return
    shown, expected = json.loads(line), json.loads(formatter.format(same))
    now = datetime.now(UTC)
    assert abs((now - datetime.fromisoformat(shown.pop("time"))).total_seconds()) < 60
    assert expected.pop("time") and shown == expected


def test_lines_are_written_together_after_a_while() -> None:
    stream = Stream()

    async def write() -> None:
        log = AccessLog(stream, as_text=True, flush_after_s=0.02)
        for status in (200, 404):
            log.write({"status": status})
        await asyncio.sleep(0)
        assert stream.flushed == []
        await asyncio.sleep(0.1)
        assert len(stream.flushed) == 1
        log.write({"status": 500})
        await asyncio.sleep(0.1)

    asyncio.run(write())
    assert [re.findall(r"status=\d+", text) for text in stream.flushed] == [
        ["status=200", "status=404"],
        ["status=500"],
    ]


def test_a_full_buffer_is_written_at_once() -> None:
    stream = Stream()

    async def write() -> None:
        log = AccessLog(stream, as_text=True, flush_after_s=1000, max_lines=3)
        for number in range(7):
            log.write({"number": number})
        assert [text.count("\n") for text in stream.flushed] == [3, 3]
        log.flush()

    asyncio.run(write())
    assert re.findall(r"number=(\d)", "".join(stream.flushed)) == list("0123456")


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "expected"),
    [
        ("text", False, True),
        ("json", True, False),
        ("auto", True, True),
        ("auto", False, False),
    ],
)
def test_auto_is_text_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, log_format: str, is_terminal: bool, expected: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Stream(is_terminal=is_terminal))
    assert is_text(Settings.load({"log_format": log_format}, {})) is expected


@pytest.mark.parametrize(("log_format", "formatter"), [("text", TextFormatter), ("json", JsonFormatter)])
def test_configure_sets_format_and_level(
    root: logging.Logger, log_format: str, formatter: type[logging.Formatter]
) -> None:
    configure(Settings.load({"log_format": log_format, "log_level": "error"}, {}))
    [handler] = root.handlers
    assert isinstance(handler.formatter, formatter) and root.level == logging.ERROR
