"""Sessions as resources: read, listed, created with a given state, copied, moved, exported and imported.

Each change happens between two requests of a session, within its turn, and by compare-and-set.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from service.errors import InvalidField, SessionMismatch
from service.sequence import Array
from service.sessions import exported, initial, rewind, rules
from service.sessions.changes import Changes
from service.sessions.expected import Expected, inherit
from service.sessions.home import Home, names_state, pack_given, require_same, require_states
from service.sessions.listing import Page, read_page, read_tenants
from service.sessions.replies import TakeReply, drop_reply
from service.sessions.rules import Binding, session_key
from service.sessions.sessions import SCAN_LIMIT, Sessions
from service.sessions.store.history import HistoryRule
from service.sessions.store.record import COMPLETE, Record

LARGE_FILE = 64 << 10  # bytes; a larger one is read in a thread, and others are answered meanwhile


def no_canary(model: str, tenant: str, session: str) -> str | None:  # noqa: ARG001
    """Every new session starts on the default version."""
    return None


class Resources:
    """All operations on sessions except their steps. Each raises UnknownSession or SessionGone."""

    def __init__(
        self,
        sessions: Sessions,
        find_home: Callable[[str | None, str | None], Home],
        *,
        max_ttl_s: float,
        take_reply: TakeReply = drop_reply,
        canary_for: Callable[[str, str, str], str | None] = no_canary,
    ) -> None:
        """`canary_for`: the version of a new session by model, tenant and name; None: the default version."""
        self._sessions = sessions
        self._changes = Changes(sessions)
        self._find_home = find_home  # by model and version; raises UnknownModel or UnknownVersion
        self._max_ttl_s = max_ttl_s
        self._take_reply = take_reply
        self._canary_for = canary_for

    def now_ms(self) -> int:
        """The session clock, milliseconds since the Unix epoch."""
        return self._sessions.now_ms()

    async def read(self, tenant: str, name: str) -> Record:
        """The live record."""
        record = await self._sessions.find(session_key(tenant, name))
        return rules.require_live(record, self.now_ms())

    async def page(self, tenant: str, *, after: str = "", limit: int = 100, model: str | None = None) -> Page:
        """Up to `limit` live sessions with a name greater than `after`, of one model or of all."""
        return await read_page(self._sessions, tenant, after=after, limit=limit, model=model)

    async def tenants(self, limit: int) -> list[str]:
        """Up to `limit` tenants that have sessions, in order of name."""
        return await read_tenants(self._sessions, limit)

    async def delete(self, tenant: str, name: str, *, expected: Expected | None = None) -> None:
        """Delete a live session, or, unless a step is expected, one whose record is damaged.

        Its name is free again. Raises SessionConflict.
        """

        def delete(existing: Record | None) -> None:
            live = rules.require_live(existing, self.now_ms())
            if expected is not None:
                expected.check(live)

        await self._changes.change(tenant, name, delete, even_damaged=expected is None)

    async def create(
        self,
        tenant: str,
        name: str,
        *,
        model: str | None = None,
        version: str | None = None,
        state: Mapping[str, Any] | None = None,
        step: int = 0,
        ttl_s: float | None = None,
        history: HistoryRule | None = None,
        replace_live: bool = False,
        expected: Expected | None = None,
    ) -> Record:
        """Create a session, with the client's own state, a named one, or the model's initial one.

        `state`: tensors by name, or `{"name": …}`; no tensor is a string.
        `expected`: replace the live session that is so; its time to live and checkpoints stay by default.
        Raises UnknownModel, UnknownVersion, UnknownState, SessionNotSupported, SessionExists, InvalidField or
        SessionConflict.
        """
        home = self._find_home(model, version)
        if version is None and (state is None or names_state(state)):
            canary = self._canary_for(home.binding.model, tenant, name)
            home = home if canary is None else self._find_home(home.binding.model, canary)
        require_states(home)
        layout, without = home.layout, home.manifest.sequence_inputs
        if state is None and step and without:  # at step 0 the first request has their values
            raise InvalidField(
                f"a session that starts at step {step} needs its state, with the value of the input "
                f"{without[0].name!r}",
                pointer="/state",
            )
        packed = layout.pack(layout.initial()) if state is None else pack_given(home, state, step)
        ttl_ms = None if ttl_s is None else self._ttl_ms(ttl_s)
        record = self._sessions.new_record(home.binding, state=packed, step=step, ttl_ms=ttl_ms)
        if state is not None and not names_state(state):
            record.digest = COMPLETE
        if expected is None:
            self._set_history(record, history)
            return await self._changes.put(tenant, name, record, replace_live=replace_live)

        def change(live: Record) -> Record:
            new = inherit(live, record, ttl=ttl_ms is None)
            self._set_history(new, history)
            return expected.replace(live, new)

        return await self._changes.update(tenant, name, change)

    async def fork(
        self,
        tenant: str,
        name: str,
        to: str,
        *,
        at: int | None = None,
        ttl_s: float | None = None,
        history: HistoryRule | None = None,
    ) -> Record:
        """A second session that continues from a kept step of this one, by default from the current one.

        It has the checkpoints before that step, too, as far as `history` leaves them.
        Raises SessionExists or UnknownCheckpoint.
        """
        record = await self.read(tenant, name)
        step = record.step if at is None else at
        # The stored reply names the other session, so the copy has none.
        copy = self._sessions.new_record(
            Binding(record.model, record.version, record.graph),
            state=rewind.state_at(record, step, "/at"),
            step=step,
            ttl_ms=record.ttl_ms if ttl_s is None else self._ttl_ms(ttl_s),
        )
        copy.history = rewind.history_at(record, step)
        self._set_history(copy, history)
        if record.digest == COMPLETE:
            copy.digest = COMPLETE
        return await self._changes.put(tenant, to, copy, replace_live=False)

    async def change(
        self,
        tenant: str,
        name: str,
        *,
        ttl_s: float | None = None,
        history: HistoryRule | None = None,
        expected: Expected | None = None,
    ) -> Record:
        """Change the idle time after which it expires, counted from now, or what it keeps of its past.

        Raises InvalidField or SessionConflict.
        """
        ttl_ms = None if ttl_s is None else self._ttl_ms(ttl_s)

        def change(live: Record) -> Record:
            changed = replace(live, touched_ms=self.now_ms())
            if ttl_ms is not None:
                changed.ttl_ms = ttl_ms
            self._set_history(changed, history)
            return changed

        return await self._changes.update(tenant, name, change, expected)

    async def rewind(
        self, tenant: str, name: str, step: int, *, at: int | None = None, rewinds: int | None = None
    ) -> Record:
        """Return to a kept step. The same rewind again changes nothing. Errors: see `rewind.rewind`."""
        return await self._changes.update(
            tenant,
            name,
            lambda live: rewind.rewind(live, step, at=at, rewinds=rewinds, now_ms=self.now_ms()),
        )

    async def migrate(
        self, tenant: str, name: str, version: str | None, *, expected: Expected | None = None
    ) -> Record:
        """Move to another version (default: the newest), state and step as they are.

        Raises SessionMismatch when that version's states differ in name, type or shape, or SessionConflict.
        """

        def move(live: Record) -> Record:
            old, new = self._find_home(live.model, live.version), self._find_home(live.model, version)
            require_same(old.layout.tensors, new)
            return replace(live, version=new.binding.version, graph=new.binding.graph)

        return await self._changes.update(tenant, name, move, expected)

    async def scan(self, after: bytes) -> list[tuple[bytes, Record]]:
        """Live records of all tenants by key, in order from the one behind `after`; none: the end."""
        return await self._sessions.store.scan(b"", after, SCAN_LIMIT)

    async def export(self, tenant: str, name: str) -> bytes:
        """The session as a file. Raises SessionMismatch when its graph is not loaded."""
        record = await self.read(tenant, name)
        return exported.write(name, record, self._home_of(record).layout.tensors)

    async def export_state(self, tenant: str, name: str) -> bytes:
        """The recurrent tensors as a named initial state's file. Raises SessionMismatch, as `export`."""
        record = await self.read(tenant, name)
        home = self._home_of(record)
        home.layout.check_size(record.state)
        return initial.write(record.state, home.layout, initial.metadata_of(home.binding, record.step))

    async def import_(
        self,
        tenant: str,
        name: str,
        blob: bytes,
        *,
        version: str | None = None,
        replace_live: bool = False,
        expected: Expected | None = None,
    ) -> Record:
        """Import an exported session onto its own version, or onto `version` if the states agree.

        A stored reply that no server can have written is left out. `expected`: as in `create`, except that
        time to live and checkpoints are those of the file.

        Raises BadExport, NonFinite, UnknownModel, UnknownVersion, SessionMismatch, SessionExists or
        SessionConflict.
        """
        read = partial(exported.read, blob)
        header, record = await asyncio.to_thread(read) if len(blob) > LARGE_FILE else read()
        home = self._find_home(header.model, version or header.version)
        require_same(header.tensors, home)
        if version is None and home.binding.graph != record.graph:
            raise SessionMismatch(
                f"the graph of {header.model} version {header.version} here is not the one that the session "
                'was exported from; set "version" to import it all the same'
            )
        exported.check(record, home.layout, allows_non_finite=home.manifest.non_finite == "allow")
        new = self._sessions.new_record(
            home.binding,
            state=record.state,
            step=record.step,
            ttl_ms=min(record.ttl_ms, self._ttl_ms(self._max_ttl_s)),
        )
        new.created_ms = min(record.created_ms, new.created_ms)  # another host's clock may be ahead
        if record.history is not None:
            new.history = rewind.within(record.history, self._sessions.history_limits)
        if record.digest == COMPLETE:
            new.digest = COMPLETE
        if name == header.session:  # the stored reply names it
            reply = self._take_reply(record.reply, session=name, step=record.step, manifest=home.manifest)
            if reply is not None:  # else a retry of the last request gets 409
                new.at, new.digest, new.reply = record.at, record.digest, reply
        if expected is not None:
            return await self._changes.update(tenant, name, lambda live: expected.replace(live, new))
        return await self._changes.put(tenant, name, new, replace_live=replace_live)

    def state_of(self, record: Record) -> dict[str, Array]:
        """Its recurrent tensors by name. Raises SessionMismatch when its model's layout is another one."""
        layout = self._home_of(record).layout
        layout.check_size(record.state)
        return layout.unpack_named(record.state)

    def _home_of(self, record: Record) -> Home:
        home = self._find_home(record.model, record.version)
        if home.binding.graph != record.graph:
            raise rules.graph_changed(record)
        return home

    def _set_history(self, record: Record, rule: HistoryRule | None) -> None:
        """Let a new record keep what the client asks for, if anything. Raises InvalidField."""
        if rule is not None:
            limits = self._sessions.history_limits
            record.history = rewind.with_rule(record.history, rewind.check_rule(rule, limits), limits)

    def _ttl_ms(self, ttl_s: float) -> int:
        if not 0 < ttl_s <= self._max_ttl_s:
            raise InvalidField(
                f"expected more than 0 and at most {self._max_ttl_s:g} seconds", pointer="/ttl_s"
            )
        return max(1, round(ttl_s * 1000))
