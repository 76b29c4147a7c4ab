"""Reading and writing what is large, in a thread: the event loop answers others meanwhile.

One thread: Python runs in one at a time anyway, and of several the event loop would have to wait for each.
What is small is read at once: handing it to a thread takes longer. It knows nothing of requests.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.sequence import Sequence

Result = TypeVar("Result")

LARGE_BODY = 64 << 10  # bytes; such a body is read within some 5 ms
LARGE_OUTPUT = 1 << 15  # numbers; so many are written within some 2 ms


class Aside:
    """The thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises; it is called in the thread, after what waits for it already."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def stop(self) -> None:
        """End the thread, after the work under way."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def is_large(sequence: Sequence) -> bool:
    """Whether the outputs of a computed sequence are written aside."""
    outputs = sequence.outputs
    numbers = outputs[0].size if len(outputs) == 1 else sum([output.size for output in outputs])
    return numbers * (1 + len(sequence.extra)) > LARGE_OUTPUT
