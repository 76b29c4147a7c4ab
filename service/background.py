"""Work that repeats in the background. It knows no parts; a store or disk that fails once is tried again."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from service.errors import CellgateError

logger = logging.getLogger(__name__)


def start(stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Do some work in the background, until it or the server ends."""
    task = asyncio.get_running_loop().create_task(work)
    stack.callback(task.cancel)


def repeat(
    stack: contextlib.AsyncExitStack, every_s: float, work: Callable[[], Awaitable[object]], failure: str
) -> None:
    """Do some work in the background, every `every_s` seconds, until the stop."""
    start(stack, _repeated(every_s, work, failure))


async def _repeated(every_s: float, work: Callable[[], Awaitable[object]], failure: str) -> None:
    """A store or disk that does not answer is reported once, until it answers again."""
    reported = False
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
            reported = False
        except (CellgateError, OSError) as error:
            if not reported:
                logger.warning("%s: %s", failure, error)
            reported = True
        except Exception:
            logger.exception(failure)  # a bug; the next time may succeed
