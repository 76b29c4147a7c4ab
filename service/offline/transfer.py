"""Values between two processes: a pipe, and memory that both see for the arrays of a value.

    pipe    pickle of the rest, sizes of the arrays, whether they are in the region
    region  memory of the first array │ of the second │ …     or behind the pickle, if they do not fit

`Connection.send` would copy arrays into the pickle, and `recv` out of small pieces: for short sequences that
is a tenth of the time of a small graph. The buffers outside of the pickle are those of PEP 574.
"""

import mmap
import os
import pickle
from collections.abc import Callable, Sequence
from itertools import accumulate
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

PROTOCOL = 5
REGION_BYTES = 16 << 20  # a block and some more
ALIGNMENT = 64  # of arrays, in bytes


class Region:
    """Memory of this process and of one that it starts with it as an argument.

    What is received lies in it until something else is sent.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor`: of a region of another process, which this one takes over."""
        self._descriptor = os.memfd_create("cellgate-blocks") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self._descriptor, REGION_BYTES)
        self.memory = mmap.mmap(self._descriptor, REGION_BYTES)

    def __reduce__(self) -> tuple[Callable[[Any], "Region"], tuple[Any]]:
        """For an argument of a new process."""
        return _region, (reduction.DupFd(self._descriptor),)

    def close(self) -> None:
        """Release it, on this side; once more changes nothing."""
        if not self.memory.closed:
            self.memory.close()
            os.close(self._descriptor)


def _region(descriptor: Any) -> Region:
    return Region(descriptor.detach())


def send(pipe: Connection, value: object, region: Region | None = None) -> None:
    """Send what can be pickled. Raises OSError if the other end is closed."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, PROTOCOL, buffer_callback=buffers.append)
    memories = [buffer.raw() for buffer in buffers]
    sizes = [memory.nbytes for memory in memories]
    *starts, end = _places(sizes)
    is_shared = region is not None and end <= REGION_BYTES
    if region is not None and is_shared:
        for start, memory in zip(starts, memories, strict=True):
            region.memory[start : start + memory.nbytes] = memory
    pipe.send((pickled, sizes, is_shared))
    if is_shared:
        return
    for memory in memories:
        while memory.nbytes:
            memory = memory[os.write(pipe.fileno(), memory) :]


def receive(pipe: Connection, region: Region | None = None) -> Any:
    """What the other end has sent. Raises EOFError or OSError if it is closed."""
    pickled, sizes, is_shared = pipe.recv()
    if region is not None and is_shared:
        memory = memoryview(region.memory)
        starts = _places(sizes)
        buffers = [memory[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    else:
        buffers = [_read(pipe.fileno(), size) for size in sizes]
    return pickle.loads(pickled, buffers=buffers)


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each array begins, and behind the last."""
    return list(accumulate((size + -size % ALIGNMENT for size in sizes), initial=0))


def _read(descriptor: int, size: int) -> memoryview:
    rest = memory = np.empty(size, np.uint8).data
    while rest.nbytes:
        count = os.readv(descriptor, [rest])
        if not count:
            raise EOFError
        rest = rest[count:]
    return memory
