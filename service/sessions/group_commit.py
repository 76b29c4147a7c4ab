"""Group commit: the writes of one iteration of the event loop share a transaction."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from service.sessions.store.base import Outcome, Store, Write


class GroupCommit:
    """Collects writes while a commit runs, and commits them together. Knows no sessions."""

    def __init__(
        self, store: Store, now_ms: Callable[[], int], observe_s: Callable[[float], None] = lambda _: None
    ) -> None:
        """`observe_s`: called with the seconds that each commit took."""
        self._store = store
        self._observe_s = observe_s
        self._now_ms = now_ms
        self._pending: list[tuple[Write, asyncio.Future[Outcome]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def write(self, write: Write) -> asyncio.Future[Outcome]:
        """One compare-and-set; done once the store holds it, or with StoreUnavailable.

        Not a coroutine, for speed.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        self._pending.append((write, done))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        return done

    async def _flush(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending, []
                await self._commit(group)
        finally:
            self._flushing = None

    async def _commit(self, group: list[tuple[Write, asyncio.Future[Outcome]]]) -> None:
        started = perf_counter()
        try:
            outcomes = await self._store.commit([write for write, _ in group], self._now_ms())
        except Exception as error:  # noqa: BLE001  passed on to every waiter
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        finally:
            self._observe_s(perf_counter() - started)
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if not done.done():
                done.set_result(outcome)
