"""Loaded models around fake engines, run by the real worker, session rules and memory store."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from service.engine.cost import Cost
from service.engine.runner import SingleCoreRunner
from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.manifest import Manifest
from service.predict import Predictor
from service.repository import Model, Repository
from service.sequence import Result, State
from service.sequence import Sequence as Steps
from service.sessions import Binding, Limits, Sessions, StateTokens, SteadyClock
from service.sessions.store import Outcome, Write
from service.sessions.store.memory import MemoryStore
from service.sessions.store.record import new_revision
from service.state import StateLayout
from tests.service.fakes import SumEngine

SUMS = Manifest.model_validate(
    {
        "task": "forecast",
        "inputs": [{"name": "x", "dims": [1]}],
        "states": [{"input": "sum", "output": "sum_out", "shape": ["batch", 1]}],
        "outputs": [{"name": "y", "dims": [1]}],
    }
)
LETTERS = Manifest.model_validate(
    {
        "task": "language",
        "inputs": [{"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a", "b", "c"]}],
        "states": [{"input": "sum", "output": "sum_out", "shape": ["batch", 1]}],
        "outputs": [{"name": "y", "kind": "probabilities", "dims": [3]}],
    }
)

SPEAKERS = Manifest.model_validate(
    {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1]}, {"name": "speaker", "dims": [2], "per": "sequence"}],
        "states": [{"input": "sum", "output": "sum_out", "shape": ["batch", 1]}],
        "outputs": [
            {"name": "y", "dims": [1]},
            {"name": "count", "dtype": "int64"},
            {"name": "odds", "kind": "probabilities", "dims": [2], "labels": ["no", "yes"]},
            {"name": "total", "steps": "last"},
        ],
    }
)

GATED = Manifest.model_validate(
    SUMS.model_dump()
    | {
        "outputs": [
            {"name": "y", "dims": [1]},
            {"name": "mean", "dims": [1], "steps": "last"},
            {"name": "g0", "kind": "gates", "dims": [4], "gates": {"names": ["open", "shut"]}},
            {"name": "g1", "kind": "gates", "dims": [1, 2], "gates": {"names": ["open"], "layer": 1}},
        ]
    }
)


class SessionSums(SumEngine):
    """A `SumEngine` as a model needs it. It keeps the states of sessions, as a device does."""

    provider = "fake"
    output_dtype = "float32"
    output_dtypes: tuple[str, ...] = ("float32",)

    def __init__(self, manifest: Manifest = SUMS) -> None:
        super().__init__()
        self.layout = StateLayout(manifest.states, manifest.kept_inputs)
        self.initial_state = self.layout.initial()
        self.states: dict[bytes, tuple[bytes, State]] = {}
        self.num_resumed = 0  # from a state of its own

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        known_revision, state = self.states.get(key, (b"", ()))
        if known_revision != revision:
            return self.layout.unpack(packed)
        self.num_resumed += 1
        return state

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        self.states[key] = revision, state


class LetterSums(SessionSums):
    """A language model whose next token is certain: the sum of all token ids so far, modulo three."""

    def __init__(self) -> None:
        super().__init__(LETTERS)

    def _step(self, sequence: Steps, start: int, stop: int) -> Result:
        sums = sequence.state[0] + np.cumsum(sequence.inputs[0][start:stop])[:, None]  # [steps, 1]
        odds = (sums % 3 == np.arange(3)).astype(np.float32)  # [steps, 3]
        return Result(odds if sequence.keep_all else odds[-1:], (sums[-1].astype(np.float32),))


class SpeakerSums(SessionSums):
    """y: the sum so far, plus the speaker's two numbers; count: its integer part; odds: certainly "yes"."""

    output_dtypes = ("float32", "int64", "float32", "float32")

    def __init__(self) -> None:
        super().__init__(SPEAKERS)

    def _step(self, sequence: Steps, start: int, stop: int) -> Result:
        sums = sequence.state[0] + np.cumsum(sequence.inputs[0][start:stop], axis=0)  # [steps, 1]
        y = sums + sequence.state[1].sum()
        odds = np.repeat(np.array([[0, 1]], np.float32), len(y), axis=0)
        outputs = [y, y[:, 0].astype(np.int64), odds, y[-1:, 0]]
        if not sequence.keep_all:
            outputs = [output[-1:] for output in outputs]
        elif stop < sequence.steps:
            outputs[3] = outputs[3][:0]
        extra = tuple([outputs[index] for index in sequence.extra])
        return Result(outputs[0], (sums[-1].astype(np.float32), sequence.state[1]), extra)


class GatedSums(SessionSums):
    """Sums with gates: of layer 0 open [x, 2x] and shut [3x, 4x], of layer 1 open [sum, sum + x].

    `num_traced`: sequences that wanted any of them.
    """

    output_dtypes = ("float32",) * 4

    def __init__(self) -> None:
        super().__init__(GATED)
        self.num_traced = 0

    def _step(self, sequence: Steps, start: int, stop: int) -> Result:
        x = sequence.inputs[0][start:stop]
        output, state, *_ = super()._step(sequence, start, stop)
        sums = sequence.state[0] + np.cumsum(x, axis=0)
        outputs = [output, sums[-1:], x * [[1, 2, 3, 4]], np.stack([sums, sums + x], axis=2)]
        if sequence.keep_all and stop < sequence.steps:
            outputs[1] = outputs[1][:0]
        if not sequence.keep_all:
            outputs = [each[-1:] for each in outputs]
        self.num_traced += max(sequence.extra, default=0) > 1
        return Result(output, state, tuple([outputs[index] for index in sequence.extra]))


class RacingStore(MemoryStore):
    """Lets another worker write just before each of the next `num_races` commits."""

    num_races = 0

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        if self.num_races:
            self.num_races -= 1
            await self.race(writes[0].key, now_ms)
        return await super().commit(writes, now_ms)

    async def race(self, key: bytes, now_ms: int) -> None:
        """One step of the value 100, which another worker commits."""
        old = await self.get(key)
        assert old is not None
        (total,) = np.frombuffer(old.state, np.float32)
        state = np.float32(total + 100).tobytes()
        record = replace(old, revision=new_revision(), step=old.step + 1, state=state, digest=b"r" * 16)
        assert await super().commit([Write(key, old.revision, record, None)], now_ms) == [Outcome.DONE]


class Parts:
    """A predictor, and all that is behind it. To be built on an event loop."""

    def __init__(
        self,
        *versions: str,
        engine: type[SessionSums] = SessionSums,
        manifest: Manifest = SUMS,
        tokens: StateTokens | None = None,
    ) -> None:
        self.engines = {version: engine() for version in versions or ("1",)}
        self.repository = Repository(
            [build_model("m", version, manifest, engine) for version, engine in self.engines.items()]
        )
        self.store = RacingStore(Limits())
        self.sessions = Sessions(self.store, ttl_s=60, clock=SteadyClock(None))
        self.predictor = Predictor(
            self.repository,
            self.sessions,
            max_sequences=4,
            max_steps=20,
            timeout_s=10,
            clock=asyncio.get_running_loop().time,
            tokens=tokens,
        )

    async def predict(self, *sequences: Any, tenant: str = "", **fields: Any) -> list[dict[str, Any]]:
        """The entries of "predictions"."""
        body = orjson.dumps({"sequences": sequences} | fields)
        reply = await self.predictor.predict(body, tenant=tenant)
        predictions: list[dict[str, Any]] = orjson.loads(reply.body)["predictions"]
        return predictions


def build_model(name: str, version: str, manifest: Manifest, engine: SessionSums) -> Model:
    cost = Cost()
    scheduler = Scheduler(max_batch=4, chunk_steps=2, max_waiting=99, cost=cost)
    worker = Worker(scheduler, SingleCoreRunner(engine, cost, inline_s=1))
    return Model(
        name=name,
        version=version,
        manifest=manifest,
        binding=Binding(name, version, b"graph--" + version.encode()),
        worker=worker,
        engine=engine,
        difference=0.0,
    )


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run an async test."""

    async def body() -> None:
        await work()

    asyncio.run(body())
