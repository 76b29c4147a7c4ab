"""Sessions as resources: looked at, made with a state of one's own, copied, moved elsewhere.

All of it happens between two requests of a session, within its turn, and by compare-and-set as theirs does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from service.errors import (
    CorruptRecord,
    InvalidField,
    NonFinite,
    SessionExists,
    SessionMismatch,
    SessionNotSupported,
    WrongShape,
)
from service.manifest import Manifest, StateSpec
from service.names import MAX_STEP
from service.sequence import Array
from service.sessions import exported as transfer
from service.sessions.rules import Binding, Sessions, session_key
from service.sessions.store import Record
from service.sessions.store.base import tenant_of
from service.sessions.store.record import new_revision

MAX_SCANNED = 10  # pages looked through, for one page of a single model's sessions


class Home(Protocol):
    """The model version a session lives on."""

    @property
    def manifest(self) -> Manifest:
        """The contract, which names the states."""

    @property
    def binding(self) -> Binding:
        """The graph, by name and fingerprint."""


@dataclass(slots=True, frozen=True)
class Page:
    """Some live sessions in order of name; `next` is the name to go on after, None at the end."""

    sessions: list[tuple[str, Record]]
    next: str | None


class Resources:
    """What can be done with sessions but to step them. Raises UnknownSession or SessionGone throughout."""

    def __init__(
        self, sessions: Sessions, find_home: Callable[[str | None, str | None], Home], *, max_ttl_s: float
    ) -> None:
        self._sessions = sessions
        self._find_home = find_home  # by model and version; raises UnknownModel or UnknownVersion
        self._max_ttl_s = max_ttl_s

    def now_ms(self) -> int:
        """The time sessions live by."""
        return self._sessions.now_ms()

    async def read(self, tenant: str, name: str) -> Record:
        """The live record."""
        return self._sessions.require_live(await self._sessions.find(session_key(tenant, name)))

    async def page(self, tenant: str, *, after: str = "", limit: int = 100, model: str | None = None) -> Page:
        """Up to `limit` live sessions with a name greater than `after`, of one model or of all.

        A page may hold fewer, even none, and there be more: only `next` tells.
        """
        prefix, sessions = session_key(tenant, ""), self._sessions
        kept: list[tuple[str, Record]] = []
        for _ in range(MAX_SCANNED):
            found = await sessions.store.scan(prefix, session_key(tenant, after), limit)
            for key, record in found:
                after = key[len(prefix) :].decode()
                if sessions.is_live(record) and model in (None, record.model):
                    kept.append((after, record))
                    if len(kept) == limit:
                        return Page(kept, after)
            if len(found) < limit:
                return Page(kept, None)
        return Page(kept, after)

    async def tenants(self, limit: int) -> list[str]:
        """Up to `limit` of those who have sessions, in order of name; each costs one look into the store."""
        names: list[str] = []
        after = b""
        while len(names) < limit and (found := await self._sessions.store.scan(b"", after, 1)):
            tenant = tenant_of(found[0][0])
            names.append(tenant.decode())
            after = tenant + b"\0\xff"  # beyond all its sessions, whose names are ASCII
        return names

    async def delete(self, tenant: str, name: str) -> None:
        """Forget a live session, or one whose record was damaged; its name is free again."""

        def forget(found: Record | None) -> None:
            self._sessions.require_live(found)

        await self._change(tenant, name, forget, even_damaged=True)

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
        replace_live: bool = False,
    ) -> Record:
        """Begin a session, with the client's own state or the model's initial one.

        Raises UnknownModel, UnknownVersion, SessionNotSupported, SessionExists or an InvalidField.
        """
        home = self._find_home(model, version)
        _require_states(home)
        specs = home.manifest.states
        packed = _pack_state(specs, state) if state is not None else b"".join(map(_initial, specs))
        ttl_ms = None if ttl_s is None else self._ttl_ms(ttl_s)
        fresh = self._sessions.new_record(home.binding, state=packed, step=step, ttl_ms=ttl_ms)
        return await self._put(tenant, name, fresh, replace_live=replace_live)

    async def fork(self, tenant: str, name: str, to: str, *, ttl_s: float | None = None) -> Record:
        """A second session that goes on from where this one is now. Raises SessionExists."""
        record = await self.read(tenant, name)
        # The stored reply speaks of the other session, so the copy has none.
        copy = self._sessions.new_record(
            Binding(record.model, record.version, record.graph),
            state=record.state,
            step=record.step,
            ttl_ms=record.ttl_ms if ttl_s is None else self._ttl_ms(ttl_s),
        )
        return await self._put(tenant, to, copy, replace_live=False)

    async def set_ttl(self, tenant: str, name: str, ttl_s: float) -> Record:
        """Change the idle time after which it expires; that begins anew. Raises InvalidField."""
        ttl_ms, touched_ms = self._ttl_ms(ttl_s), self._sessions.now_ms()
        return await self._update(
            tenant, name, lambda live: replace(live, ttl_ms=ttl_ms, touched_ms=touched_ms)
        )

    async def migrate(self, tenant: str, name: str, version: str | None) -> Record:
        """Move to another version (default: the newest), state and step as they are.

        Raises SessionMismatch when that version's states are named, typed or shaped otherwise.
        """

        def move(live: Record) -> Record:
            old, new = self._find_home(live.model, live.version), self._find_home(live.model, version)
            _require_same(transfer.tensors_of(old.manifest.states), new)
            return replace(live, version=new.binding.version, graph=new.binding.graph)

        return await self._update(tenant, name, move)

    async def export(self, tenant: str, name: str) -> bytes:
        """The session as a file. Raises SessionMismatch when no model is there to say what its state is."""
        record = await self.read(tenant, name)
        home = self._home_of(record)
        return transfer.write(name, record, transfer.tensors_of(home.manifest.states))

    async def import_(
        self, tenant: str, name: str, blob: bytes, *, version: str | None = None, replace_live: bool = False
    ) -> Record:
        """Take an exported session in, onto its own version, or onto `version` if the states agree.

        Raises BadExport, NonFinite, UnknownModel, UnknownVersion, SessionMismatch or SessionExists.
        """
        header, record = transfer.read(blob)
        home = self._find_home(header.model, version or header.version)
        _require_same(header.tensors, home)
        if version is None and home.binding.graph != record.graph:
            raise SessionMismatch(
                f"the session comes from another graph than {header.model} {header.version} has here; "
                "say which version shall take it"
            )
        transfer.check(header, record, max_step=MAX_STEP)
        fresh = self._sessions.new_record(
            home.binding,
            state=record.state,
            step=record.step,
            ttl_ms=min(record.ttl_ms, self._ttl_ms(self._max_ttl_s)),
        )
        fresh.created_ms = min(record.created_ms, fresh.created_ms)  # another host's clock may be ahead
        if name == header.session:  # its stored reply says this name
            fresh.at, fresh.digest, fresh.reply = record.at, record.digest, record.reply
        return await self._put(tenant, name, fresh, replace_live=replace_live)

    def state_of(self, record: Record) -> dict[str, Array]:
        """Its recurrent tensors by name. Raises SessionMismatch when they cannot be told apart any more."""
        tensors = transfer.tensors_of(self._home_of(record).manifest.states)
        if len(record.state) != transfer.num_bytes(tensors):
            raise SessionMismatch(f"the session's state has {len(record.state)} bytes, its model's differs")
        return transfer.unpack(tensors, record.state)

    def _home_of(self, record: Record) -> Home:
        home = self._find_home(record.model, record.version)
        if home.binding.graph != record.graph:
            raise SessionMismatch("the session's state came from another graph than this version has now")
        return home

    async def _put(self, tenant: str, name: str, record: Record, *, replace_live: bool) -> Record:
        def place(found: Record | None) -> Record:
            if found is not None and self._sessions.is_live(found) and not replace_live:
                raise SessionExists(
                    f"the session is live, at step {found.step}", members={"step": found.step}
                )
            return record

        await self._change(tenant, name, place, even_damaged=replace_live)
        return record

    async def _update(self, tenant: str, name: str, change: Callable[[Record], Record]) -> Record:
        changed: list[Record] = []

        def update(found: Record | None) -> Record:
            changed[:] = [replace(change(self._sessions.require_live(found)), revision=new_revision())]
            return changed[0]

        await self._change(tenant, name, update)
        return changed[0]

    async def _change(
        self,
        tenant: str,
        name: str,
        change: Callable[[Record | None], Record | None],
        *,
        even_damaged: bool = False,
    ) -> None:
        """Write what `change` makes of what is there (None: delete), again until nobody else was first."""
        key = session_key(tenant, name)
        await self._sessions.take_turn(key)
        try:
            is_done = False
            while not is_done:
                found = await self._find(key, even_damaged=even_damaged)
                is_done = await self._sessions.put(key, found, change(found))
        finally:
            self._sessions.release_turn(key)

    async def _find(self, key: bytes, *, even_damaged: bool) -> Record | None:
        try:
            return await self._sessions.find(key)
        except CorruptRecord as error:
            if not even_damaged:
                raise
            return Record.unreadable(error, self._sessions.now_ms())

    def _ttl_ms(self, ttl_s: float) -> int:
        if not 0 < ttl_s <= self._max_ttl_s:
            raise InvalidField(
                f"expected more than 0 and at most {self._max_ttl_s:g} seconds", pointer="/ttl_s"
            )
        return max(1, round(ttl_s * 1000))


def _require_states(home: Home) -> None:
    if not home.manifest.chunkable:
        raise SessionNotSupported(f"{home.binding.model} cannot be served step by step")


def _require_same(tensors: tuple[transfer.Tensor, ...], home: Home) -> None:
    _require_states(home)
    ours = transfer.tensors_of(home.manifest.states)
    if tensors != ours:
        raise SessionMismatch(
            f"the session's state is {_told(tensors)}; {home.binding.model} version {home.binding.version} "
            f"has {_told(ours)}"
        )


def _told(tensors: tuple[transfer.Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype}{list(tensor.shape)}" for tensor in tensors)


def _initial(spec: StateSpec) -> bytes:
    return np.full(spec.row_shape, spec.initial, spec.dtype).tobytes()


def _pack_state(specs: tuple[StateSpec, ...], state: Mapping[str, Any]) -> bytes:
    """The client's tensors as they lie in a record. Raises InvalidField, WrongShape or NonFinite."""
    names = [spec.input for spec in specs]
    if set(state) != set(names):
        raise InvalidField(f"expected exactly the states {', '.join(map(repr, names))}", pointer="/state")
    return b"".join(_pack_tensor(spec, state[spec.input]) for spec in specs)


def _pack_tensor(spec: StateSpec, value: Any) -> bytes:
    pointer = f"/state/{spec.input}"
    wanted = f"expected numbers in the shape {list(spec.row_shape)}"
    try:
        array = np.array(value)
    except ValueError as error:  # ragged
        raise WrongShape(wanted, pointer=pointer) from error
    if array.dtype.kind not in "iuf":
        raise InvalidField(wanted, pointer=pointer)
    if array.shape != spec.row_shape:
        raise WrongShape(f"{wanted}, got {list(array.shape)}", pointer=pointer)
    with np.errstate(over="ignore"):
        packed = array.astype(spec.dtype)
    if not np.isfinite(packed).all():
        raise NonFinite(f"a number does not fit into {spec.dtype}", pointer=pointer)
    return packed.tobytes()
