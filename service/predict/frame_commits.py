"""Commits the computed frames of all streams, those of one turn of the event loop in one transaction.

It knows sessions and replies; it knows nothing of turns, of frames that wait, or of sockets.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from service.errors import CellgateError, InternalError
from service.predict import frame_replies
from service.predict.aside import Aside, is_large
from service.predict.channel import Run
from service.sessions import Sessions

# Whether a run was applied; if not, another worker was first; or why it was refused.
Outcome = bool | CellgateError

logger = logging.getLogger(__name__)


class FrameCommits:
    """Collects runs while a commit is under way, and commits them together."""

    def __init__(
        self,
        sessions: Sessions,
        aside: Aside,
        *,
        end: Callable[[Run, Outcome], None],
        fail: Callable[[Run, CellgateError], None],
        flush: Callable[[], None],
    ) -> None:
        """`aside`: writes large replies.

        `end`: called with each run and its outcome; `flush`: called after all runs of a commit.
        `fail`: called with a run that `end` has raised for, a bug: the frames of others are answered.
        """
        self._sessions = sessions
        self._aside = aside
        self._end = end
        self._fail = fail
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._computed: list[Run] = []
        self._committing: asyncio.Task[None] | None = None

    def add(self, run: Run) -> None:
        """Commit a run soon."""
        self._computed.append(run)
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        try:
            while self._computed:
                runs, self._computed = self._computed, []
                for run, outcome in await self._commit(runs):
                    try:
                        self._end(run, outcome)
                    except Exception:
                        logger.exception("frames of session %r were not answered", run.channel.session)
                        self._fail(run, InternalError())
                self._flush()
        finally:
            self._committing = None

    async def _commit(self, runs: list[Run]) -> list[tuple[Run, Outcome]]:
        ended: list[tuple[Run, Outcome]] = []
        written: list[Run] = []
        now_ms = self._sessions.now_ms()
        for run in runs:
            try:
                if is_large(run.sequence):
                    await self._aside.run(partial(frame_replies.advance, run, self._sessions, now_ms))
                else:
                    frame_replies.advance(run, self._sessions, now_ms)
            except Exception as error:  # noqa: BLE001  logged by `_error_of`
                ended.append((run, _error_of(error, run)))
            else:
                written.append(run)
        if not written:
            return ended
        try:
            outcomes = await self._sessions.commit_all([(run.opened, run.record) for run in written])
        except Exception as error:  # noqa: BLE001  logged by `_error_of`
            return ended + [(run, _error_of(error, run)) for run in written]
        return ended + list(zip(written, outcomes, strict=True))


def _error_of(error: Exception, run: Run) -> CellgateError:
    """The answer to frames that were not committed: the error itself, or one that says nothing of a bug."""
    if isinstance(error, CellgateError):
        return error
    logger.error("frames of session %r were not committed", run.channel.session, exc_info=error)
    return InternalError()
