"""Commits the computed frames of all streams, those of one turn of the event loop in one transaction.

It knows sessions and replies; it knows nothing of turns, of frames that wait, or of sockets.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial

from service.errors import CellgateError, InternalError
from service.predict import frame_replies
from service.predict.aside import Aside, is_large
from service.predict.channel import Run
from service.sessions import Sessions

Outcomes = Collection[tuple[Run, bool | CellgateError]]

logger = logging.getLogger(__name__)


class FrameCommits:
    """Collects runs while a commit is under way, and commits them together."""

    def __init__(
        self,
        sessions: Sessions,
        aside: Aside,
        end: Callable[[Collection[tuple[Run, bool | CellgateError]]], None],
    ) -> None:
        """`aside`: writes large replies. `end`: gets all runs of a commit, each with its outcome.

        An outcome is whether the run was applied; if not, another worker was first; or why it was refused.
        """
        self._sessions = sessions
        self._aside = aside
        self._end = end
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
                self._end(await self._commit(runs))
        finally:
            self._committing = None

    async def _commit(self, runs: list[Run]) -> Outcomes:
        try:
            now_ms = self._sessions.now_ms()
            for run in runs:
                if is_large(run.sequence):
                    await self._aside.run(partial(frame_replies.advance, run, self._sessions, now_ms))
                else:
                    frame_replies.advance(run, self._sessions, now_ms)
            outcomes = await self._sessions.commit_all([(run.opened, run.record) for run in runs])
        except Exception:  # a bug; every frame is answered all the same
            logger.exception("frames of streams were not committed")
            return [(run, InternalError()) for run in runs]
        return list(zip(runs, outcomes, strict=True))
