"""Sessions as resources, on small fakes of model versions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pytest

from service.errors import (
    CorruptRecord,
    InvalidField,
    SessionExists,
    SessionGone,
    SessionMismatch,
    SessionNotSupported,
    UnknownModel,
    UnknownSession,
    UnknownState,
    UnknownVersion,
)
from service.manifest import InputSpec, Manifest, StateSpec
from service.sequence import State
from service.sessions import (
    Binding,
    Checkpoint,
    History,
    HistoryLimits,
    HistoryRule,
    Home,
    Limits,
    Record,
    Resources,
    initial,
    session_key,
)
from service.sessions.store import Outcome, Write
from service.sessions.store.memory import MemoryStore
from service.state import StateLayout
from tests.service.sessions.world import (
    BINDING,
    FIRST,
    KEY,
    LAYOUT,
    NAME,
    STATES,
    TTL_S,
    World,
    expired,
    live,
    run,
)

T = TypeVar("T")


def test_pages_omit_expired_sessions_and_end() -> None:
    async def body(world: World) -> None:
        for name in ("a", "b"):
            await world.step(key=session_key("", name))
        page = await world.resources.page("", limit=1)
        assert [name for name, _ in page.sessions] == ["a"] and page.next == "a"
        page = await world.resources.page("", after="a")
        assert [name for name, _ in page.sessions] == ["b"] and page.next is None
        world.clock.now += TTL_S + 1
        assert (await world.resources.page("")).sessions == []

    run(body)


def test_delete_frees_the_name_and_cannot_be_repeated() -> None:
    async def body(world: World) -> None:
        await live(world)
        await world.resources.delete("", NAME)
        with pytest.raises(UnknownSession):
            await world.resources.delete("", NAME)
        await expired(world)
        with pytest.raises(SessionGone):
            await world.resources.delete("", NAME)

    run(body)


@dataclass(frozen=True)
class FakeHome:
    """A model version without a model."""

    binding: Binding
    layout: StateLayout = LAYOUT
    chunkable: bool = True
    inputs: tuple[InputSpec, ...] = ()

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_construct(
            task="label", inputs=self.inputs, outputs=(), causal=self.chunkable, states=STATES
        )

    def named_state(self, name: str) -> State:
        if name != "warm":
            raise UnknownState(f"no {name}")
        return tuple(np.full(tensor.shape, 2, tensor.dtype) for tensor in self.layout.tensors)


OTHER_LAYOUT = StateLayout([StateSpec(input="h", output="h_out", shape=(1, "batch", 4))])
SPEAKER = InputSpec(name="speaker", dims=(2,), per="sequence")
HOMES = [
    FakeHome(BINDING),
    FakeHome(Binding("vowels", "2", b"graph222")),
    FakeHome(Binding("vowels", "3", b"graph333"), OTHER_LAYOUT),
    FakeHome(Binding("whole", "1", b"graph444"), chunkable=False),
    FakeHome(Binding("voices", "1", b"graph555"), StateLayout(STATES, [SPEAKER]), inputs=(SPEAKER,)),
]


def find_home(name: str | None, version: str | None) -> Home:
    found = [home for home in HOMES if name in (None, home.binding.model)]
    if not found:
        raise UnknownModel(f"no model {name}")
    chosen = [home for home in found if version in (None, home.binding.version)]
    if not chosen:
        raise UnknownVersion(f"no version {version}")
    return chosen[0]


def homes(body: Callable[[World], Awaitable[T]]) -> T:
    """Run `body` on a new world with the versions above."""

    async def work() -> T:
        return await body(World(store=MemoryStore(Limits(min_idle_ms=0)), find_home=find_home))

    return asyncio.run(work())


def test_a_created_session_has_the_initial_state_or_the_clients_own() -> None:
    async def body(world: World) -> None:
        first = await world.resources.create("", "first")
        assert first.state == LAYOUT.pack(LAYOUT.initial()) and first.step == 0
        own: dict[str, Any] = {"h": [[1, 2]], "c": [3, 4, 5.5]}
        second = await world.resources.create("", "second", state=own, step=7, ttl_s=9)
        assert (second.step, second.at, second.ttl_ms) == (7, 7, 9000)
        state = world.resources.state_of(await world.resources.read("", "second"))
        assert {name: array.tolist() for name, array in state.items()} == own
        with pytest.raises(SessionExists):
            await world.resources.create("", "second")
        replaced = await world.resources.create("", "second", replace_live=True)
        assert (await world.resources.read("", "second")).revision == replaced.revision

    homes(body)


def test_a_created_session_may_begin_from_a_named_state() -> None:
    async def body(world: World) -> None:
        record = await world.resources.create("", "warm", state={"name": "warm"})
        state = world.resources.state_of(await world.resources.read("", "warm"))
        assert record.step == 0 and all((array == 2).all() for array in state.values())
        with pytest.raises(UnknownState) as unknown:
            await world.resources.create("", "cold", state={"name": "cold"})
        assert unknown.value.pointer == "/state/name"
        with pytest.raises(InvalidField, match="is at step 0, not 7") as later:
            await world.resources.create("", "late", state={"name": "warm"}, step=7)
        assert later.value.pointer == "/step"
        for tensors in ({"name": [1]}, {"name": "warm", "h": [[1, 2]]}):
            with pytest.raises(InvalidField, match="expected exactly the states 'h', 'c'"):
                await world.resources.create("", "no", state=tensors)

    homes(body)


def test_a_state_is_exported_alone_as_a_named_state_is_read() -> None:
    async def body(world: World) -> None:
        own: dict[str, Any] = {"h": [[1, 2]], "c": [3, 4, 5.5]}
        await world.resources.create("", NAME, state=own, step=7)
        state = initial.read(await world.resources.export_state("", NAME), LAYOUT)
        assert [np.asarray(array).tolist() for array in state] == list(own.values())
        with pytest.raises(UnknownSession):
            await world.resources.export_state("", "none")

    homes(body)


def test_a_session_that_starts_later_needs_the_inputs_that_are_given_at_its_start() -> None:
    """Without a state they were zeros, and every answer was for them."""

    async def body(world: World) -> None:
        with pytest.raises(InvalidField, match="needs its state, with the value of the input 'speaker'"):
            await world.resources.create("", NAME, model="voices", step=7)
        first = await world.resources.create("", NAME, model="voices")
        assert first.step == 0  # the first request must have them
        state: dict[str, Any] = {"h": [[1, 2]], "c": [3, 4, 5.5], "speaker": [6, 7]}
        later = await world.resources.create("", "later", model="voices", state=state, step=7)
        assert later.step == 7 and world.resources.state_of(later)["speaker"].tolist() == [6, 7]

    homes(body)


def test_a_session_needs_a_model_that_runs_in_pieces_and_a_valid_ttl() -> None:
    async def body(world: World) -> None:
        with pytest.raises(SessionNotSupported):
            await world.resources.create("", NAME, model="whole")
        for ttl_s in (0, -1, TTL_S + 1):
            with pytest.raises(InvalidField):
                await world.resources.create("", NAME, ttl_s=ttl_s)
        with pytest.raises(UnknownSession):
            await world.resources.read("", NAME)

    homes(body)


def test_a_fork_continues_from_the_same_state_without_the_stored_reply() -> None:
    async def body(world: World) -> None:
        await live(world)
        copy = await world.resources.fork("", NAME, "copy")
        original = await world.resources.read("", NAME)
        assert (copy.state, copy.step, copy.at) == (original.state, original.step, original.step)
        assert (copy.reply, copy.digest) == (b"", bytes(16)) and original.reply
        with pytest.raises(SessionExists):
            await world.resources.fork("", NAME, "copy")
        with pytest.raises(UnknownSession):
            await world.resources.fork("", "none", "other")

    homes(body)


def test_a_new_ttl_counts_from_now() -> None:
    async def body(world: World) -> None:
        await live(world)
        world.clock.now += TTL_S - 1
        changed = await world.resources.change("", NAME, ttl_s=50)
        assert (changed.ttl_ms, changed.step) == (50_000, 4)
        world.clock.now += 50
        assert await world.resources.read("", NAME) == changed
        world.clock.now += 0.1
        with pytest.raises(SessionGone):
            await world.resources.change("", NAME, ttl_s=50)

    homes(body)


def test_a_session_migrates_only_to_a_version_with_the_same_states() -> None:
    async def body(world: World) -> None:
        await live(world)
        moved = await world.resources.migrate("", NAME, "2")
        assert (moved.version, moved.graph, moved.step) == ("2", b"graph222", 4)
        with pytest.raises(SessionMismatch, match=r"h float32\[1, 4\]"):
            await world.resources.migrate("", NAME, "3")
        with pytest.raises(UnknownVersion):
            await world.resources.migrate("", NAME, "9")
        assert await world.resources.read("", NAME) == moved

    homes(body)


def test_a_session_that_is_created_starts_on_the_canary() -> None:
    async def body(world: World) -> None:
        resources = Resources(
            world.sessions, world.find_home, max_ttl_s=TTL_S,
            canary_for=lambda *session: "2" if session[-1] == "in" else None,
        )  # fmt: skip
        assert (await resources.create("", "in")).version == "2"
        assert (await resources.create("", "out")).version == "1"
        await resources.delete("", "out")
        assert (await resources.create("", "in", version="1", replace_live=True)).version == "1"

    homes(body)


def test_an_exported_session_is_imported_with_its_reply_only_under_its_own_name() -> None:
    async def body(world: World) -> None:
        await world.resources.create("", NAME, step=4)
        blob = await world.resources.export("", NAME)
        await world.resources.delete("", NAME)
        imported = await world.resources.import_("", NAME, blob)
        assert (imported.step, imported.at, imported.version) == (4, 4, "1")
        with pytest.raises(SessionExists):
            await world.resources.import_("", NAME, blob)
        renamed = await world.resources.import_("", "renamed", blob, version="2")
        assert (renamed.version, renamed.reply, renamed.state) == ("2", b"", imported.state)
        with pytest.raises(SessionMismatch):
            await world.resources.import_("", "other", blob, version="3")

    homes(body)


def test_the_past_of_a_session_moves_with_it() -> None:
    """Onto another version, into a file and back; within the bounds of the server that reads it."""

    async def body(world: World) -> None:
        created = await world.resources.create("", NAME, history=HistoryRule(2, 3))
        past = History(2, 3, 1, (Checkpoint(0, created.state), Checkpoint(3, created.state)))
        later = replace(created, step=4, history=past, revision=bytes(8))
        assert await world.sessions.put(KEY, created, later)
        assert (await world.resources.migrate("", NAME, "2")).history == past
        blob = await world.resources.export("", NAME)
        assert (await world.resources.import_("", "copy", blob)).history == past
        for bounds, kept in ((HistoryLimits(1), past.checkpoints[1:]), (HistoryLimits(9, 1), ())):
            world.sessions.history_limits = bounds
            imported = await world.resources.import_("", "copy", blob, replace_live=True)
            assert imported.history and imported.history.checkpoints == kept

    homes(body)


def test_a_session_whose_graph_has_changed_is_not_exported() -> None:
    async def body(world: World) -> None:
        binding = Binding("vowels", "1", b"replaced")
        opened = await world.open(binding=binding)
        state = LAYOUT.pack(LAYOUT.initial())
        await world.sessions.commit(opened, binding, steps=1, state=state, digest=FIRST, reply=b"", end=False)
        with pytest.raises(SessionMismatch, match="has changed"):
            await world.resources.export("", NAME)
        record = await world.resources.read("", NAME)
        with pytest.raises(SessionMismatch, match="has changed"):
            world.resources.state_of(record)
        with pytest.raises(SessionMismatch, match="has 3 bytes, its model's state 20"):
            world.resources.state_of(replace(record, graph=BINDING.graph, state=b"abc"))

    homes(body)


def test_a_change_is_repeated_when_another_worker_was_first() -> None:
    """The other worker's step stays."""

    class RacedStore(MemoryStore):
        meanwhile: Record | None = None

        async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
            if self.meanwhile is not None:
                other, self.meanwhile = self.meanwhile, None
                await super().commit([Write(KEY, writes[0].expected, other)], now_ms)
            return await super().commit(writes, now_ms)

    async def body(_: World) -> None:
        store = RacedStore(Limits())
        world = World(store=store)
        await live(world)
        record = await world.resources.read("", NAME)
        store.meanwhile = replace(record, step=5, revision=b"theirs!!")
        changed = await world.resources.change("", NAME, ttl_s=50)
        assert (changed.step, changed.ttl_ms) == (5, 50_000)
        assert changed.revision not in (record.revision, b"theirs!!")

    homes(body)


def test_a_damaged_session_can_only_be_deleted_or_replaced() -> None:
    class DamagedStore(MemoryStore):
        async def get(self, key: bytes) -> Record | None:
            record = await super().get(key)
            if record is not None and record.step == 4:
                raise CorruptRecord("damaged", record.revision)
            return record

        async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
            for write in writes:  # as a store that compares the stored revision without reading the rest
                if write.expected is not None:
                    self._remove(write.key)
            return await super().commit([replace(write, expected=None) for write in writes], now_ms)

    async def body(_: World) -> None:
        world = World(store=DamagedStore(Limits()), find_home=find_home)
        for name in (NAME, "other"):
            await world.resources.create("", name, step=4)
        for attempt in (
            world.resources.read("", NAME),
            world.resources.change("", NAME, ttl_s=1),
            world.resources.create("", NAME),
        ):
            with pytest.raises(CorruptRecord):
                await attempt
        await world.resources.delete("", NAME)
        with pytest.raises(UnknownSession):
            await world.resources.read("", NAME)
        assert (await world.resources.create("", "other", replace_live=True)).step == 0

    homes(body)


def test_tenants_are_listed_in_order() -> None:
    async def body(world: World) -> None:
        for tenant in ("beta", "", "acme"):
            for name in ("one", "two"):
                await world.resources.create(tenant, name)
        assert await world.resources.tenants(9) == ["", "acme", "beta"]
        assert await world.resources.tenants(2) == ["", "acme"]

    homes(body)
