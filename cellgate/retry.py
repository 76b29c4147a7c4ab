"""When a request is sent again, and for how long. Time and chance are arguments."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import httpx

from cellgate.errors import (
    BodyTimeout,
    CellgateError,
    ConnectionFailed,
    ResponseError,
    SessionQuota,
    TooMany,
    TooManyStreams,
    Unavailable,
)
from cellgate.flow import Flow, Outcome, Pause, Send
from cellgate.replies import error_of, retry_after_s
from cellgate.settings import Settings

logger = logging.getLogger("cellgate")


@dataclass(frozen=True, slots=True)
class Retry:
    """The policy: waits between attempts are random, at least what the server asks for, and bounded."""

    settings: Settings
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    """In [0, 1)."""

    def wait_s(self, attempt: int, elapsed_s: float, asked_s: float | None) -> float | None:
        """How long to wait after the failed `attempt`, counted from 1; None: give up."""
        most = self.settings.first_backoff_s * 2.0 ** min(attempt - 1, 30)
        wait_s = self.chance() * min(most, self.settings.max_backoff_s) + (asked_s or 0.0)
        return wait_s if elapsed_s + wait_s < self.settings.max_retry_s else None


def is_retryable(error: CellgateError) -> bool:
    """Whether the same request may succeed later. A quota of sessions does not refill by itself."""
    passing = ConnectionFailed | Unavailable | TooMany | BodyTimeout
    return isinstance(error, passing) and not isinstance(error, SessionQuota | TooManyStreams)


def exchange(send: Send, retry: Retry) -> Flow[httpx.Response]:
    """Send a request until it is answered with a success. Raises a CellgateError otherwise.

    The request must be one that may be applied twice, or that the server recognises: a step with `at`.
    """
    started = retry.clock()
    for attempt in count(1):
        outcome = yield send
        error, asked_s = _failure(outcome)
        if error is None:
            assert isinstance(outcome, httpx.Response)
            return outcome
        yield from wait(error, attempt, started, asked_s, retry)
    raise AssertionError


def wait(
    error: CellgateError, attempt: int, started: float, asked_s: float | None, retry: Retry
) -> Flow[None]:
    """Pause before another attempt. Raises the error if there is none."""
    wait_s = retry.wait_s(attempt, retry.clock() - started, asked_s) if is_retryable(error) else None
    if wait_s is None:
        raise error
    logger.info("attempt %d failed, the next one in %.2f s: %s", attempt, wait_s, error)
    yield Pause(wait_s)


def _failure(outcome: Outcome) -> tuple[CellgateError | None, float | None]:
    """The error of an attempt, None if it succeeded, and how long the server asks to wait."""
    if isinstance(outcome, httpx.Response):
        error: ResponseError | None = error_of(outcome)
        return error, retry_after_s(outcome) if error is not None else None
    assert outcome is not None
    return outcome, None
