"""Values between processes: what arrives is what was sent, and a closed end is noticed."""

import multiprocessing
import threading

import numpy as np
import pytest

from service.engine.flat import Flat
from service.offline.block import Keys
from service.offline.flat_block import FlatBlock
from service.offline.lines import LineBlock
from service.offline.transfer import REGION_BYTES, Region, receive, send


def sent(value: object, region: Region | None = None) -> object:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        thread = threading.Thread(target=send, args=(ours, value, region))
        thread.start()
        found = receive(theirs, region)
        thread.join()
    return found


def test_arrays_arrive_in_the_region_or_if_they_do_not_fit_by_the_pipe() -> None:
    region = Region()
    for count in (3, REGION_BYTES // 8 - 8, REGION_BYTES // 8):
        numbers, few = np.arange(count, dtype=np.float64), np.arange(5, dtype=np.int64)
        found = sent([few, "text", numbers], region)
        assert isinstance(found, list) and found[1] == "text"
        assert (found[0] == few).all() and (found[2] == numbers).all()
        is_in_region = np.shares_memory(found[2], np.frombuffer(region.memory, np.uint8))
        assert is_in_region == (count < REGION_BYTES // 8)
        del found


def test_blocks_arrive_as_they_were_sent() -> None:
    values = np.arange(600_000, dtype=np.float32).reshape(-1, 2)  # more than a pipe holds
    block = FlatBlock(
        Flat((values,), np.array([0, 7]), np.array([7, 300_000])), Keys("call", ["a", 2], True), 0.5
    ).after(1)
    found = sent(block)
    assert isinstance(found, FlatBlock) and (found.flat.inputs[0] == values[7:]).all()
    assert found.flat.ends.tolist() == [299_993] and (found.names, found.progress) == (block.names, 0.5)
    lines = LineBlock([b"[[1, 2]]", None, b'{"steps": [[3, 4]]}'], 0.25)
    assert sent(lines) == lines
    assert sent([np.zeros((0, 2)), "text"])[1] == "text"  # type: ignore[index]


def test_a_closed_end_raises() -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.send((b"", [5], False))
    ours.close()
    with pytest.raises(EOFError):
        receive(theirs)
    with pytest.raises(OSError, match="pipe"):
        send(theirs, np.zeros(1 << 20))
