"""Reading and writing what is large, in threads: the event loop answers others meanwhile.

Two threads, one of them for what is very large, so that nothing else waits behind it. Not more: Python runs
in one at a time anyway, and the event loop would have to wait for each. What is small is read at once: a
thread takes longer. It knows nothing of requests.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from service.sequence import Sequence

Result = TypeVar("Result")

LARGE_BODY = 128 << 10  # bytes; such a body is read within some 10 ms
LARGE_OUTPUT = 1 << 15  # numbers; so many are written within some 2 ms
VERY_LARGE_BODY = 1 << 20  # bytes


class Aside:
    """The threads."""

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._very_large = ThreadPoolExecutor(1, thread_name_prefix="very-large-bodies")

    async def run(self, work: Callable[[], Result], size: int = 0) -> Result:
        """What `work` returns or raises; it is called in a thread, after what waits for that already.

        `size`: bytes of the body that it reads; 0: a part of one, or a response.
        """
        executor = self._very_large if size > VERY_LARGE_BODY else self._large
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def stop(self) -> None:
        """End the threads, after the work under way."""
        for executor in (self._large, self._very_large):
            executor.shutdown(wait=False, cancel_futures=True)


def is_large(sequence: Sequence) -> bool:
    """Whether the outputs of a computed sequence are written aside."""
    outputs = sequence.outputs
    numbers = outputs[0].size if len(outputs) == 1 else sum([output.size for output in outputs])
    numbers *= 1 + len(sequence.extra)
    if sequence.extras:  # gates are wider than answers
        numbers = max(numbers, sum([output.size for extras in sequence.extras for output in extras]))
    if sequence.states:
        numbers += sum([np.size(array) for array in sequence.states[-1]]) * len(sequence.states)
    return numbers > LARGE_OUTPUT
