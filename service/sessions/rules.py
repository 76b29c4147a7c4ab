"""The rules of a session: who may take the next step, what a retry gets, when the memory is gone.

    request ─ turn ─ find ─ open ──→ state, step ──→ (computed) ──→ commit ──→ reply
                             ├─→ the stored reply: the last request, again      └─→ lost the race: find again
                             └─→ an error: 404, 409, 410

Sessions know records and stores; they know nothing of HTTP, JSON or ONNX Runtime.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.errors import (
    DeadlineExceeded,
    Overloaded,
    SessionCapacity,
    SessionConflict,
    SessionExists,
    SessionGone,
    SessionMismatch,
    SessionQuota,
    UnknownSession,
)
from service.sequence import Start
from service.sessions.store import Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.base import tenant_of
from service.sessions.store.record import new_revision

MAX_WAITING = 256  # requests of a process that wait for one session, each with its body
SWEEP_LIMIT = 500  # sessions buried in one go, so that a sweep holds the store for a millisecond, not more


@dataclass(slots=True, frozen=True)
class Binding:
    """The graph that a session's state belongs to. A session stays with the one it started on."""

    model: str
    version: str
    graph: bytes  # 8: fingerprint


@dataclass(slots=True)  # not frozen, for speed
class Opened:
    """A session whose next request may run (or, with `reply`, need not)."""

    key: bytes
    existing: Record | None  # what the commit has to find again: a session, a tombstone, or nothing
    resumed: Record | None = None  # the live session; None when this request begins a new one
    reply: bytes | None = None  # the stored reply, when this is the last request again

    @property
    def state(self) -> bytes | None:
        """The state to go on from; None at step 0."""
        return self.resumed.state if self.resumed else None

    @property
    def version(self) -> str:
        """The model's version that what was found is on."""
        return self.existing.version if self.existing else ""

    @property
    def step(self) -> int:
        """Steps consumed so far."""
        return self.resumed.step if self.resumed else 0


def session_key(tenant: str, session: str) -> bytes:
    """The store's key. A tenant cannot hold NUL, so no tenant reaches another's sessions."""
    return f"{tenant}\0{session}".encode()


class Sessions:
    """Opens and commits sessions; at any time at most one request of this process has a session's turn."""

    def __init__(
        self,
        store: Store,
        *,
        ttl_s: float,
        clock: Callable[[], float],
        quotas: Mapping[str, Quota] | None = None,  # by tenant
    ) -> None:
        self.store = store
        self._quotas = {name.encode(): quota for name, quota in (quotas or {}).items()}
        self._ttl_ms = round(ttl_s * 1000)
        self._clock = clock  # seconds since the Unix epoch
        self._turns: dict[bytes, deque[asyncio.Future[None]]] = {}
        self._pending: list[tuple[Write, asyncio.Future[Outcome]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def take_turn(self, key: bytes, deadline: float | None = None) -> None:
        """Wait until no other request of this process is at work on the session; first come, first served.

        Raises Overloaded when too many wait already, DeadlineExceeded when it is too late by the event
        loop's clock.
        """
        waiting = self._turns.get(key)
        if waiting is None:
            self._turns[key] = deque()
            return
        if len(waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} requests wait for this session already")
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if turn.done() and not turn.cancelled():  # handed to us as we left: pass it on
                self.release_turn(key)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("other requests of the session took until the deadline") from error
            raise

    def release_turn(self, key: bytes) -> None:
        """End the turn that `take_turn` began."""
        waiting = self._turns[key]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._turns[key]

    async def find(self, key: bytes) -> Record | None:
        """What the store holds: a session, perhaps an expired one, a tombstone, or nothing."""
        return await self.store.get(key)

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
    ) -> Opened:
        """Decide what a request may do with the session that `find` found, within its turn.

        `is_pinned`: whether the request names the version; if not, its repetition gets the stored reply
        also when another version has become the default meanwhile.
        Raises UnknownSession, SessionGone, SessionConflict, SessionExists or SessionMismatch; the session
        stays as it was.
        """
        if start in ("new", "restart"):
            if record is not None and at == 0 and self._is_last(record, binding, at, digest, is_pinned):
                return Opened(key, record, reply=record.reply)
            return self._start(key, record, at, may_replace=start == "restart")
        live = record if record is not None and self.is_live(record) else None
        if live is not None:
            self._check_binding(live, binding)
            if at is None or at == live.step:
                return Opened(key, live, live)
        if record is not None and at is not None and self._is_last(record, binding, at, digest, is_pinned):
            return Opened(key, record, reply=record.reply)
        if live is None:
            return self._begin(key, record, at if start == "auto" else None, must_exist=start == "no")
        raise SessionConflict(
            f"the session is at step {live.step}, the request says {at}", members={"step": live.step}
        )

    async def commit(
        self,
        opened: Opened,
        binding: Binding,
        *,
        steps: int,
        state: bytes,
        digest: bytes,
        reply: bytes,
        end: bool,
    ) -> Record | None:
        """Make a computed request part of the session. None: another worker was first, nothing was applied.

        Returns once the store holds it. Raises SessionCapacity or StoreUnavailable; nothing was applied then.
        """
        old = opened.resumed
        record = self.new_record(
            binding,
            state=b"" if end else state,
            step=opened.step + steps,
            ttl_ms=old.ttl_ms if old else None,
        )
        if old is not None:
            record.created_ms = old.created_ms
        if end:
            record.status = Status.ENDED
        record.at, record.digest, record.reply = opened.step, digest, reply
        return record if await self.put(opened.key, opened.existing, record) else None

    def new_record(self, binding: Binding, *, state: bytes, step: int, ttl_ms: int | None = None) -> Record:
        """A live session as of now; `ttl_ms` None: as the settings have it."""
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

    def require_live(self, record: Record | None) -> Record:
        """The record, if it is of a live session. Raises UnknownSession or SessionGone."""
        if record is None:
            raise UnknownSession("no session of that name")
        if not self.is_live(record):
            raise self._gone(record)
        return record

    async def sweep(self) -> int:
        """Bury expired sessions; return how many. To be called now and then."""
        return await self.store.sweep(self.now_ms(), SWEEP_LIMIT)

    def _start(self, key: bytes, record: Record | None, at: int | None, *, may_replace: bool) -> Opened:
        """A first step that says it is one: in the place of whatever `record` is, unless that is live."""
        if at:
            raise SessionConflict(f"a session starts at step 0, the request says {at}", members={"step": 0})
        if record is not None and self.is_live(record) and not may_replace:
            raise SessionExists(f"the session is live, at step {record.step}", members={"step": record.step})
        return Opened(key, record)

    def _begin(self, key: bytes, record: Record | None, at: int | None, *, must_exist: bool) -> Opened:
        """A first step where there is no live session: on a free name, or in the place of a tombstone."""
        if must_exist:
            raise UnknownSession("no session of that name") if record is None else self._gone(record)
        if record is None:
            if at:
                raise UnknownSession(f"no session of that name; a new one begins at step 0, not {at}")
            return Opened(key, None)
        # An ended session was closed by its own client, who may reuse the name. An expired or evicted one
        # was not: going on without its memory would be a wrong answer, so the client has to say `at: 0`.
        if at == 0 or (at is None and record.status is Status.ENDED):
            return Opened(key, record)
        raise self._gone(record)

    def is_live(self, record: Record) -> bool:
        """Whether it is a session, and has not been idle for longer than it may be."""
        return record.is_live and self.now_ms() - record.touched_ms <= record.ttl_ms

    def _gone(self, record: Record) -> SessionGone:
        reason = "expired" if record.is_live else record.status.name.lower()
        return SessionGone(
            f"the session has {'been evicted' if reason == 'evicted' else reason} at step {record.step}; "
            "start anew with at: 0",
            members={"reason": reason, "step": record.step},
        )

    @staticmethod
    def _is_last(record: Record, binding: Binding, at: int, digest: bytes, is_pinned: bool) -> bool:
        """Whether a request is the last one again: then its reply is what was stored."""
        if at != record.at or digest != record.digest or record.model != binding.model:
            return False
        return not is_pinned or binding == Binding(record.model, record.version, record.graph)

    @staticmethod
    def _check_binding(record: Record, binding: Binding) -> None:
        if (record.model, record.version) != (binding.model, binding.version):
            raise SessionMismatch(
                f"the session runs on {record.model} version {record.version}, "
                f"not on {binding.model} version {binding.version}",
                members={"model": record.model, "version": record.version},
            )
        if record.graph != binding.graph:
            raise SessionMismatch(
                f"the session's state came from another graph than {record.model} {record.version} has now"
            )

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int(self._clock() * 1000)

    async def put(self, key: bytes, found: Record | None, record: Record | None) -> bool:
        """Put `record` (None: nothing) in the place of `found`, if that is still there; whether it was.

        Returns once the store holds it. Raises SessionCapacity, SessionQuota or StoreUnavailable.
        """
        quota = self._quotas.get(tenant_of(key)) if self._quotas else None
        outcome = await self._write(Write(key, found.revision if found else None, record, quota))
        if outcome is Outcome.FULL:
            raise SessionCapacity(
                "the session store is full, and no session has been idle long enough to evict"
            )
        if outcome is Outcome.OVER_QUOTA:
            raise SessionQuota("this tenant has as many sessions, or bytes of them, as it may")
        return outcome is Outcome.DONE

    async def _write(self, write: Write) -> Outcome:
        """One compare-and-set; all that are asked for in the same turn of the loop share a transaction."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending.append((write, done))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending, []
                await self._flush_group(group)
        finally:
            self._flushing = None

    async def _flush_group(self, group: list[tuple[Write, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self.store.commit([write for write, _ in group], self.now_ms())
        except Exception as error:  # noqa: BLE001  handed to every waiter
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if not done.done():
                done.set_result(outcome)
