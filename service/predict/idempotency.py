"""`Idempotency-Key`: a request that is sent again gets the stored reply (the IETF draft of that name).

    key ─ unknown ──→ marked as in progress ─ run ─→ reply stored ─→ reply
        ├ in progress ──→ 409           └ failed ─→ forgotten, so that a retry runs
        ├ stored, same content ──→ the stored reply
        └ another content ──→ 422

A second contract beside `at`, for requests without a session. Replies have a store of their own, of the same
kind as that of sessions, so that they never evict one. It is opened by the first request that has a key.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable

from service.errors import (
    BadHeader,
    IdempotencyInProgress,
    IdempotencyMismatch,
    StartupError,
    StoreUnavailable,
)
from service.names import IDEMPOTENCY_KEY
from service.predict.request import Reply
from service.sessions import session_key
from service.sessions.group_commit import GroupCommit
from service.sessions.rules import is_live
from service.sessions.store import Outcome, Record, Status, Store, Write
from service.sessions.store.record import new_revision

SWEEP_LIMIT = 500  # expired replies removed by one sweep
MAX_RUN_S = 10.0  # beside the time limit of a request, after which one in progress has died

logger = logging.getLogger(__name__)


class Idempotency:
    """Runs a request once for each key, and remembers its reply."""

    def __init__(self, store: Store, *, ttl_s: float, timeout_s: float, clock: Callable[[], float]) -> None:
        """`ttl_s`: for which a reply is kept; `timeout_s`: of a request; `clock`: seconds, Unix epoch."""
        self._store = store
        self._commits = GroupCommit(store, self._now_ms)
        self._ttl_ms = round(ttl_s * 1000)
        self._run_ms = round((timeout_s + MAX_RUN_S) * 1000)
        self._clock = clock
        self._opening: asyncio.Task[None] | None = None

    async def answer(
        self, key: bytes, content: bytes, run: Callable[[], Awaitable[Reply]], *, tenant: str = ""
    ) -> Reply:
        """What `run` replies, or has replied to the same `content` with this key.

        Raises BadHeader, IdempotencyMismatch, IdempotencyInProgress, StoreUnavailable, or what `run` raises.
        """
        name = session_key(tenant, _name_of(key))
        digest = hashlib.blake2b(content, digest_size=16).digest()
        await self._open()
        found = await self._store.get(name)
        if found is not None and is_live(found, self._now_ms()):
            return _stored(found, digest)
        mark = self._record(digest, self._run_ms)
        if await self._put(name, found, mark) is not Outcome.DONE:
            found = await self._store.get(name)
            if found is not None and is_live(found, self._now_ms()):
                return _stored(found, digest)
            raise StoreUnavailable("the store of replies is full")
        try:
            reply = await run()
        except BaseException:
            await self._forget(name, mark)
            raise
        await self._keep(name, mark, reply)
        return reply

    async def sweep(self) -> None:
        """Remove expired replies. To be called at intervals."""
        if self._opening is not None and self._opening.done() and not self._opening.exception():
            await self._store.sweep(self._now_ms(), SWEEP_LIMIT)

    async def close(self) -> None:
        """Close the store, if it was opened."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
            if not self._opening.exception():
                await self._store.close()

    async def _open(self) -> None:
        """Open the store once; again, if that failed."""
        opening = self._opening
        if opening is None or (opening.done() and opening.exception()):
            opening = self._opening = asyncio.get_running_loop().create_task(self._store.open())
        if not opening.done() or opening.exception():
            try:
                await asyncio.shield(opening)
            except StartupError as error:
                raise StoreUnavailable(f"the store of replies cannot be opened: {error.detail}") from error

    async def _keep(self, name: bytes, mark: Record, reply: Reply) -> None:
        """Store a reply. One that cannot be stored is sent all the same; its request would run again."""
        kept = self._record(mark.digest, self._ttl_ms, reply)
        try:
            outcome = await self._put(name, mark, kept)
        except StoreUnavailable as error:
            logger.warning("the reply to a request with a key is not stored: %s", error.detail)
            return
        if outcome is not Outcome.DONE:
            logger.warning(
                "a reply of %d bytes is not stored for its key: %s", len(reply.body), outcome.value
            )
            await self._forget(name, mark)

    async def _forget(self, name: bytes, mark: Record) -> None:
        """Let a retry run. A mark that cannot be removed expires by itself."""
        try:
            await self._put(name, mark, None)
        except StoreUnavailable as error:
            logger.warning("a key stays in progress for %d ms: %s", self._run_ms, error.detail)

    async def _put(self, name: bytes, old: Record | None, record: Record | None) -> Outcome:
        write = Write(name, None if old is None else old.revision, record)
        return await self._commits.write(write)

    def _record(self, digest: bytes, ttl_ms: int, reply: Reply | None = None) -> Record:
        """Of a request in progress, or with its reply. It has no state and no steps."""
        now_ms = self._now_ms()
        return Record(
            Status.LIVE,
            model="" if reply is None else reply.model,
            version="" if reply is None else reply.version,
            graph=bytes(8),
            revision=new_revision(),
            step=0,
            created_ms=now_ms,
            touched_ms=now_ms,
            ttl_ms=ttl_ms,
            digest=digest,
            reply=b"" if reply is None else reply.body,
        )

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _name_of(key: bytes) -> str:
    """The store's name for a key, of a length that every store takes. Raises BadHeader."""
    text = key.decode("latin-1").strip()
    if not IDEMPOTENCY_KEY.fullmatch(text):
        raise BadHeader('Idempotency-Key: expected 1 to 255 printable ASCII characters, as "8e03978e-40d5"')
    return hashlib.sha256(text.strip('"').encode()).hexdigest()


def _stored(record: Record, digest: bytes) -> Reply:
    if record.digest != digest:
        raise IdempotencyMismatch("this Idempotency-Key belongs to a request with another body or path")
    if not record.reply:
        raise IdempotencyInProgress("the first request with this Idempotency-Key is still in progress")
    return Reply(record.reply, record.model, record.version, is_replayed=True)
