"""Sessions in a store: one request after the other reads, runs and commits.

    request ─ turn ─ find ─ open ──→ state, step ──→ (computed) ──→ commit ──→ reply
                             ├─→ the stored reply                   └─→ lost the race: find again
                             └─→ an error

Knows records, stores and the clock; knows nothing of HTTP, JSON or ONNX Runtime.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from time import perf_counter

from service.errors import CellgateError, SessionCapacity, SessionConflict, SessionQuota, StoreUnavailable
from service.metrics import Metrics, Registry, SessionCounts
from service.sequence import Start
from service.sessions import rules
from service.sessions.group_commit import GroupCommit
from service.sessions.rules import Binding, Opened
from service.sessions.store import Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.base import tenant_of
from service.sessions.store.history import Checkpoint, HistoryLimits
from service.sessions.store.record import new_revision
from service.sessions.turns import Turns

SCAN_LIMIT = 200  # sessions read at once, when all are searched
SWEEP_LIMIT = 500  # sessions expired by one sweep, so that it blocks the store for about a millisecond


class Sessions:
    """Opens and commits sessions. A request takes the session's turn first, see `turns`."""

    def __init__(
        self,
        store: Store,
        *,
        ttl_s: float,
        clock: Callable[[], float],
        quotas: Mapping[str, Quota] | None = None,  # by tenant
        counts: SessionCounts | None = None,
        history_limits: HistoryLimits | None = None,
    ) -> None:
        self.store = store
        self.history_limits = history_limits or HistoryLimits()
        self.turns = Turns()
        self._counts = counts = counts or SessionCounts(Metrics(Registry()))
        self._commits = GroupCommit(store, self.now_ms, counts.observe_commit)
        self._quotas = {name.encode(): quota for name, quota in (quotas or {}).items()}
        self._ttl_ms = round(ttl_s * 1000)
        self._clock = clock  # seconds since the Unix epoch

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int(self._clock() * 1000)

    async def find(self, key: bytes) -> Record | None:
        """The stored record: a session, perhaps an expired one, a tombstone, or nothing."""
        started = perf_counter()
        record = await self.store.get(key)
        self._counts.observe_get(perf_counter() - started)
        return record

    def open(
        self,
        key: bytes,
        record: Record | None,
        binding: Binding,
        *,
        at: int | None,
        digest: bytes,
        start: Start = "auto",
        is_pinned: bool = True,
        begin: int = 0,
        rewinds: int | None = None,
    ) -> Opened:
        """Decide whether a request may run on the session that `find` returned, within its turn.

        The session stays as it was. Arguments and errors: see `rules.decide`.
        """
        try:
            opened = rules.decide(
                key,
                record,
                binding,
                self.now_ms(),
                at=at,
                digest=digest,
                start=start,
                is_pinned=is_pinned,
                begin=begin,
                rewinds=rewinds,
            )
        except SessionConflict:
            self._counts.conflict.add()
            raise
        if opened.reply is not None:
            self._counts.replay.add()
        return opened

    async def commit(
        self,
        opened: Opened,
        binding: Binding,
        steps: int,
        state: bytes,
        digest: bytes,
        reply: bytes,
        *,
        end: bool,
        passed: Iterable[Checkpoint] = (),
    ) -> Record | None:
        """Make a computed request part of the session. None: another worker was first, nothing was applied.

        Returns once the store holds it. Raises SessionCapacity, SessionQuota or StoreUnavailable; nothing was
        applied then.
        """
        record = self.advance(opened, binding, steps, state, digest, reply, end=end, passed=passed)
        if not _is_done(await self._write(opened.key, opened.existing, record)):
            self._counts.lost_race.add()
            return None
        if opened.resumed is None or end:  # else it continues
            self._count(opened.key, opened.existing, record)
        return record

    async def commit_all(
        self, changes: Collection[tuple[Opened, Record]]
    ) -> Collection[bool | CellgateError]:
        """Make many computed requests, of different sessions, part of them in one transaction.

        Of each: whether it was applied; if not, another worker was first; or the error for which it was not.
        """
        quotas = self._quotas
        writes = [
            Write(
                opened.key,
                opened.existing.revision if opened.existing else None,
                record,
                quotas.get(tenant_of(opened.key)) if quotas else None,
            )
            for opened, record in changes
        ]
        started = perf_counter()
        try:
            outcomes = await self.store.commit(writes, self.now_ms())
        except StoreUnavailable as error:
            return [error] * len(writes)
        finally:
            self._counts.observe_commit(perf_counter() - started)
        return [
            self._applied(opened, record, outcome)
            for (opened, record), outcome in zip(changes, outcomes, strict=True)
        ]

    def _applied(self, opened: Opened, record: Record, outcome: Outcome) -> bool | CellgateError:
        try:
            is_done = _is_done(outcome)
        except CellgateError as error:
            return error
        if not is_done:
            self._counts.lost_race.add()
        elif opened.resumed is None or not record.is_live:  # else it continues
            self._count(opened.key, opened.existing, record)
        return is_done

    def advance(
        self,
        opened: Opened,
        binding: Binding,
        steps: int,
        state: bytes,
        digest: bytes,
        reply: bytes,
        *,
        end: bool,
        passed: Iterable[Checkpoint] = (),
        now_ms: int | None = None,
    ) -> Record:
        """The record after a computed request, to be committed in the place of `opened.existing`.

        `passed`: states between the session's and `state`, for its history. `now_ms`: if it was read already.
        """
        old, step = opened.resumed, opened.step
        record = self.new_record(
            binding,
            state=b"" if end else state,
            step=step + steps,
            ttl_ms=None if old is None else old.ttl_ms,
            now_ms=now_ms,
        )
        if old is not None:
            record.created_ms = old.created_ms
            if old.history is not None and not end:
                states = (Checkpoint(old.step, old.state), *passed)
                record.history = old.history.add(states, self.history_limits.max_bytes)
        if end:
            record.status = Status.ENDED
        record.at, record.digest, record.reply = step, digest, reply
        return record

    def new_record(
        self,
        binding: Binding,
        *,
        state: bytes,
        step: int,
        ttl_ms: int | None = None,
        now_ms: int | None = None,
    ) -> Record:
        """A live session as of now. `ttl_ms` None: the configured TTL. `now_ms`: if it was read already."""
        if now_ms is None:
            now_ms = self.now_ms()
        return Record(
            status=Status.LIVE,
            model=binding.model,
            version=binding.version,
            graph=binding.graph,
            revision=new_revision(),
            step=step,
            created_ms=now_ms,
            touched_ms=now_ms,
            ttl_ms=self._ttl_ms if ttl_ms is None else ttl_ms,
            state=state,
            at=step,
        )

    async def sweep(self) -> int:
        """Replace expired sessions with tombstones; return how many. To be called at intervals."""
        started = perf_counter()
        num_expired = await self.store.sweep(self.now_ms(), SWEEP_LIMIT)
        self._counts.observe_sweep(perf_counter() - started)
        self._counts.expired.add(num_expired)
        return num_expired

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Up to `limit` live records with that prefix and a key greater than `after`, in order of key."""
        started = perf_counter()
        page = await self.store.scan(prefix, after, limit)
        self._counts.observe_scan(perf_counter() - started)
        return page

    async def find_on(self, bindings: Collection[Binding]) -> set[Binding]:
        """Those of the graphs that a live session is on. Reads sessions until each is found."""
        wanted, found, after = set(bindings), set[Binding](), b""
        while found < wanted:
            page = await self.scan(b"", after, SCAN_LIMIT)
            found |= wanted & {Binding(each.model, each.version, each.graph) for _, each in page}
            if len(page) < SCAN_LIMIT:
                break
            after = page[-1][0]
            await asyncio.sleep(0)  # between pages, requests are answered
        return found

    async def put(self, key: bytes, existing: Record | None, record: Record | None) -> bool:
        """Replace `existing` with `record` (None: delete), if it is still there; whether it was.

        Returns once the store holds it. Raises SessionCapacity, SessionQuota or StoreUnavailable.
        """
        if not _is_done(await self._write(key, existing, record)):
            return False
        self._count(key, existing, record)
        return True

    def _write(self, key: bytes, existing: Record | None, record: Record | None) -> asyncio.Future[Outcome]:
        quota = self._quotas.get(tenant_of(key)) if self._quotas else None
        return self._commits.write(Write(key, existing.revision if existing else None, record, quota))

    def _count(self, key: bytes, existing: Record | None, record: Record | None) -> None:
        """Count a session that a write has created or ended."""
        if rules.is_shadow_key(key):
            return
        was_live = existing is not None and existing.status is Status.LIVE
        is_live = record is not None and record.status is Status.LIVE
        if was_live and is_live and existing and record and record.created_ms == existing.created_ms:
            return  # it continues
        if existing is not None and was_live:
            is_expired = not rules.is_live(existing, self.now_ms())
            (self._counts.expired if is_expired else self._counts.ended).add()
        if is_live:
            self._counts.created.add()


def _is_done(outcome: Outcome) -> bool:
    """Whether a write was applied; else another was first. Raises SessionCapacity or SessionQuota."""
    if outcome is Outcome.DONE:
        return True
    if outcome is Outcome.FULL:
        raise SessionCapacity(
            "the session store or its disk is full, and no session has been idle long enough to evict"
        )
    if outcome is Outcome.OVER_QUOTA:
        raise SessionQuota("the tenant has reached its limit of sessions or of session bytes")
    return False
