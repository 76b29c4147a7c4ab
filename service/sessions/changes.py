"""Changes of a session between two of its requests: within its turn, and by compare-and-set."""

from collections.abc import Callable
from dataclasses import replace

from service.errors import CorruptRecord
from service.sessions import rules
from service.sessions.expected import Expected
from service.sessions.rules import session_key
from service.sessions.sessions import Sessions
from service.sessions.store.record import Record, new_revision


class Changes:
    """Writes records whole. Each method raises what the change raises; then nothing is written."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def put(self, tenant: str, name: str, record: Record, *, replace_live: bool) -> Record:
        """Write a new record. Raises SessionExists in the place of a live one, unless `replace_live`."""

        def put(existing: Record | None) -> Record:
            if existing is not None and rules.is_live(existing, self._sessions.now_ms()) and not replace_live:
                raise rules.exists(existing)
            return record

        await self.change(tenant, name, put, even_damaged=replace_live)
        return record

    async def update(
        self, tenant: str, name: str, change: Callable[[Record], Record], expected: Expected | None = None
    ) -> Record:
        """Replace a live record with what `change` makes of it, unless that is the record itself.

        Raises UnknownSession, SessionGone, or SessionConflict if the session is not as `expected`.
        """
        changed: list[Record] = []

        def update(existing: Record | None) -> Record:
            live = rules.require_live(existing, self._sessions.now_ms())
            if expected is not None:
                expected.check(live)
            new = change(live)
            changed[:] = [live if new is live else replace(new, revision=new_revision())]
            return changed[0]

        await self.change(tenant, name, update)
        return changed[0]

    async def change(
        self,
        tenant: str,
        name: str,
        change: Callable[[Record | None], Record | None],
        *,
        even_damaged: bool = False,
    ) -> None:
        """Replace the record with what `change` returns (None: delete), until no other writer was first."""
        key = session_key(tenant, name)
        await self._sessions.turns.take(key)
        try:
            is_done = False
            while not is_done:
                existing = await self._find(key, even_damaged=even_damaged)
                new = change(existing)
                is_unchanged = existing is not None and new is existing
                is_done = is_unchanged or await self._sessions.put(key, existing, new)
        finally:
            self._sessions.turns.release(key)

    async def _find(self, key: bytes, *, even_damaged: bool) -> Record | None:
        try:
            return await self._sessions.find(key)
        except CorruptRecord as error:
            if not even_damaged:
                raise
            return Record.unreadable(error, self._sessions.now_ms())
