"""What waits for sequences in the worker: a request, for one or for several.

They know futures and errors; they know nothing of queues and calls.
"""

import asyncio
import logging
from collections.abc import Callable

from service.errors import CellgateError, DeadlineExceeded, InternalError
from service.sequence import Sequence

logger = logging.getLogger(__name__)

Settle = Callable[[CellgateError | None], None]  # called once, on the event loop


class Reply:
    """What a request waits for: done when its last sequence is, or when the first has failed."""

    __slots__ = ("future", "num_waiting")

    def __init__(self, future: asyncio.Future[None], num_waiting: int) -> None:
        self.future = future
        self.num_waiting = num_waiting

    def settle(self, error: CellgateError | None) -> None:
        """One of its sequences has ended."""
        if self.future.done():  # the client has disconnected
            return
        self.num_waiting -= 1
        if error is not None:
            self.future.set_exception(error)
        elif not self.num_waiting:
            self.future.set_result(None)


def settle_one(future: asyncio.Future[None], error: CellgateError | None) -> None:
    """What a request with one sequence waits for: the sequence has ended."""
    if future.done():  # the client has disconnected
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def late() -> DeadlineExceeded:
    """The answer to a sequence whose time is up."""
    return DeadlineExceeded("not computed before the request's deadline")


def error_of(failure: Exception, sequence: Sequence) -> CellgateError:
    """The answer to a sequence on which the engine failed: the engine's own, or one that says nothing."""
    if isinstance(failure, CellgateError) and not isinstance(failure, InternalError):
        return failure
    trace = sequence.origin.trace
    fields = {} if trace is None else trace.fields
    logger.error("engine call of one sequence failed", exc_info=failure, extra={"fields": fields})
    return (
        failure if isinstance(failure, CellgateError) else InternalError("the model failed on this sequence")
    )
