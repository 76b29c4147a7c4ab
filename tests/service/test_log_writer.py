"""Lines reach the reader whole and in order, or are counted; a writer never waits twice for a reader."""

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log_writer import CLOSE_S, LogWriter


class Reader:
    """Takes writes, at most `at_once` bytes of each, while `is_open`."""

    def __init__(self, at_once: int = 1 << 30) -> None:
        self.content = b""
        self.is_open = threading.Event()
        self.is_open.set()
        self.has_begun = threading.Event()
        self._at_once = at_once

    def write(self, content: bytes) -> int:
        self.has_begun.set()
        self.is_open.wait()
        self.content += content[: self._at_once]
        return min(len(content), self._at_once)


def report(num_dropped: int) -> str:
    return f"dropped {num_dropped}\n"


def writer_to(write: Callable[[bytes], int], max_pending_bytes: int = 100) -> LogWriter:
    return LogWriter(write, report=report, max_pending_bytes=max_pending_bytes)


@given(st.lists(st.text("ab€", max_size=20).map("{}\n".format), max_size=20), st.integers(1, 30))
def test_every_line_arrives_whole_and_in_order(lines: list[str], at_once: int) -> None:
    reader = Reader(at_once)
    writer = writer_to(reader.write, 10_000)
    for line in lines:
        writer.put(line)
    writer.close()
    assert reader.content == "".join(lines).encode()


def test_a_line_is_written_when_the_wait_ends() -> None:
    reader = Reader()
    writer = writer_to(reader.write)
    writer.put("one\n")
    writer.wait(60)
    assert reader.content == b"one\n"


def test_a_stalled_reader_costs_lines_which_are_counted() -> None:
    reader = Reader()
    writer = writer_to(reader.write)
    reader.is_open.clear()
    writer.put("first\n")
    reader.has_begun.wait()
    for number in range(50):
        writer.put(f"{number:09}\n")  # ten bytes each, so that ten wait
    writer.wait(0.01)
    writer.wait(10_000)  # a second wait would be in vain
    reader.is_open.set()
    writer.close()
    kept = b"".join(b"%09d\n" % number for number in range(10))
    assert reader.content == b"first\ndropped 40\n" + kept


def test_writes_are_whole_lines_unless_one_is_too_long() -> None:
    writes: list[bytes] = []
    released = threading.Event()

    def write(content: bytes) -> int:
        released.wait()
        writes.append(content)
        return len(content)

    writer = writer_to(write, 1 << 20)
    for _ in range(300):
        writer.put("x" * 999 + "\n")
    writer.put("y" * 100_000 + "\n")
    released.set()
    writer.close()
    assert sum(map(len, writes)) == 400_001 and max(map(len, writes)) <= 64 << 10
    assert all(content.endswith(b"\n") for content in writes if b"y" not in content)


def test_a_reader_that_has_ended_costs_lines_and_raises_nothing() -> None:
    receiver, sender = os.pipe()
    os.close(receiver)
    writer = writer_to(lambda content: os.write(sender, content))
    writer.put("lost\n")
    writer.wait(60)
    writer.put("lost too\n")
    writer.close()
    os.close(sender)


@pytest.mark.parametrize("is_used", [True, False])
def test_nothing_is_written_after_the_end_and_the_thread_ends(is_used: bool) -> None:
    reader = Reader()
    writer = writer_to(reader.write)
    if is_used:
        writer.put("one\n")
    writer.close()
    writer.put("two\n")
    writer.close()
    assert reader.content == (b"one\n" if is_used else b"")
    for thread in threading.enumerate():
        if thread.name == "log" and not thread.is_alive():
            raise AssertionError
    assert CLOSE_S < 5
