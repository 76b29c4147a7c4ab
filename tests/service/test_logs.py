"""Log lines: text or JSON, and an access log that writes many lines at once."""

import asyncio
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.log_writer import LogWriter
from service.logs import (
    MAX_LINE,
    AccessLog,
    JsonFormatter,
    TextFormatter,
    configure,
    is_text,
    open_access_log,
)
from service.settings import Settings
from service.trace import Trace, current

CREATED = 1_700_000_000.125


class Stream(io.StringIO):
    """Stands in for sys.stderr."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class Writer(LogWriter):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(len, report=str)
        self.flushed: list[str] = []

    def put(self, lines: str) -> None:
        self.flushed.append(lines)


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


def test_what_is_logged_during_a_request_has_its_trace() -> None:
    token = current.set(Trace("ab" * 16, "cd" * 8, is_sampled=True))
    try:
        line = json.loads(JsonFormatter().format(record("failed", fields={"status": 500})))
        text = TextFormatter().format(record("failed"))
    finally:
        current.reset(token)
    assert (line["status"], line["trace_id"], line["span_id"]) == (500, "ab" * 16, "cd" * 8)
    assert text.endswith(f"failed trace_id={'ab' * 16} span_id={'cd' * 8}")
    assert "trace_id" not in JsonFormatter().format(record("failed"))


@pytest.mark.parametrize("as_text", [True, False])
def test_an_access_line_looks_like_any_other_line(as_text: bool) -> None:
    """The access log renders its lines without a log record, so the two ways are held equal here."""
    writer, fields = Writer(), {"status": 200, "path": "/predict"}

    async def write() -> None:
        log = AccessLog(writer, as_text=as_text)
        log.write(fields)
        log.flush()

    asyncio.run(write())
    formatter = TextFormatter() if as_text else JsonFormatter()
    same = record("request", fields=fields, name="cellgate.access", levelno=logging.INFO, levelname="INFO")
    [line] = writer.flushed
    if as_text:
        assert line[8:] == f"{formatter.format(same)}\n"[8:]
        return
    shown, expected = json.loads(line), json.loads(formatter.format(same))
    now = datetime.now(UTC)
    assert abs((now - datetime.fromisoformat(shown.pop("time"))).total_seconds()) < 60
    assert expected.pop("time") and shown == expected


def test_lines_are_written_together_after_a_while() -> None:
    writer = Writer()

    async def write() -> None:
        log = AccessLog(writer, as_text=True, flush_after_s=0.02)
        for status in (200, 404):
            log.write({"status": status})
        assert writer.flushed == []
        async with asyncio.timeout(60):
            while not writer.flushed:
                await asyncio.sleep(0.01)
            log.write({"status": 500})
            assert len(writer.flushed) == 1
            while len(writer.flushed) == 1:
                await asyncio.sleep(0.01)

    asyncio.run(write())
    assert [re.findall(r"status=\d+", text) for text in writer.flushed] == [
        ["status=200", "status=404"],
        ["status=500"],
    ]


def test_a_full_buffer_is_written_at_once() -> None:
    writer = Writer()

    async def write() -> None:
        log = AccessLog(writer, as_text=True, flush_after_s=1000, max_lines=3)
        for number in range(7):
            log.write({"number": number})
        assert [text.count("\n") for text in writer.flushed] == [3, 3]
        log.flush()

    asyncio.run(write())
    assert re.findall(r"number=(\d)", "".join(writer.flushed)) == list("0123456")


FORGED = 'x\r\n12:00:00 INFO    request status=200\x1b[1A\x9b2J\u2028\u2029\x85\u202e\u2066 id="7" \\'


def lines_of(as_text: bool, fields: dict[str, Any]) -> list[str]:
    """A line of the access log, of a record, and of an exception, each with what a client sent."""

    async def write() -> str:
        writer = Writer()
        log = AccessLog(writer, as_text=as_text)
        log.write(fields)
        log.flush()
        return "".join(writer.flushed)

    formatter = TextFormatter() if as_text else JsonFormatter()
    try:
        raise ValueError(fields["path"])
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info())
    texts = [
        asyncio.run(write()),
        formatter.format(record("not HTTP: %s", fields["path"], fields=fields)) + "\n",
        formatter.format(failed) + "\n",
    ]
    assert all(text.endswith("\n") for text in texts)
    return "".join(texts).split("\n")[:-1]


@pytest.mark.parametrize("as_text", [True, False])
def test_nothing_that_a_client_sends_looks_like_a_line_or_moves_the_cursor(as_text: bool) -> None:
    lines = lines_of(as_text, {"path": FORGED, "status": 404})
    assert all(line.isprintable() and line.splitlines() == [line] for line in lines)
    if as_text:
        starts = [line for line in lines if not line.startswith("  ")]
        assert [line.split()[1:3] for line in starts] == [
            ["INFO", "request"], ["WARNING", "not"], ["WARNING", "failed"],
        ]  # fmt: skip
    else:
        assert [json.loads(line)["level"] for line in lines] == ["info", "warning", "warning"]
        assert json.loads(lines[0])["path"] == FORGED


@pytest.mark.parametrize("value", ["/ status=200", 'a"b', "a=b", "back\\slash", "", "a\tb", "\u00a0"])
def test_a_text_value_is_one_field(value: str) -> None:
    [shown, *_] = lines_of(True, {"path": value, "status": 404})
    fields = re.sub(r'"(?:[^"\\]|\\.)*"', "quoted", shown.partition("request ")[2])
    assert fields == "path=quoted status=404"


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("character", ["x", "\x1b", "\u202e", "é"])
def test_a_line_is_short_whatever_a_client_sends(as_text: bool, character: str) -> None:
    access, record_, *failed = lines_of(as_text, {"path": character * 60_000, "id": "r7"})
    assert len(access) <= 2 * MAX_LINE and "60000 characters" in access
    assert "r7" in access, "the other fields stay"
    assert len(record_) < 15_000 and max(map(len, failed)) < 40_000


def test_a_name_that_is_no_text_is_logged() -> None:
    [line, *_] = lines_of(False, {"path": "bad\udcff"})
    assert json.loads(line)["path"] == "bad\udcff"


def test_a_record_that_cannot_be_rendered_does_not_fail_its_caller(
    root: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(Settings.load({"log_format": "text"}, {}))
    root.warning("%d models", "many")
    assert "could not be rendered: root '%d models'" in capfd.readouterr().err


def test_a_reader_of_stderr_that_stalls_stops_nobody(root: logging.Logger) -> None:
    """One 64 KB pipe that nobody read, and the event loop waited for ever."""
    receiver, sender = os.pipe()
    stderr = os.dup(2)
    os.dup2(sender, 2)
    os.close(sender)
    try:
        configure(Settings.load({"log_format": "json"}, {}))

        async def write() -> None:
            log = open_access_log(Settings.load({"log_format": "json"}, {}))
            for number in range(40_000):
                log.write({"number": number, "path": "/" * 100})
                if number % 1000 == 0:
                    root.warning("still here")
            log.flush()

        asyncio.run(write())
        text = b""
        while text.count(b"dropped because stderr was not read") < 1:
            text += os.read(receiver, 1 << 20)
        lines = [json.loads(line) for line in text.splitlines()[:-1]]
        assert any("number" in line for line in lines)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(receiver)


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
