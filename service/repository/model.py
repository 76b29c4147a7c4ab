"""One loaded version of a model: what it is, the worker that runs it, and the states of its sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from service.engine import Provider, Worker
from service.engine.content import GraphContent
from service.engine.graph import Optimization
from service.manifest import Manifest
from service.repository import initial_states
from service.sequence import Engine, State
from service.sessions import Binding
from service.state import StateLayout


class ModelEngine(Engine, Protocol):
    """An engine that also knows the states of its graph, and may keep those of sessions on a device."""

    @property
    def layout(self) -> StateLayout:
        """How the graph's states lie in bytes."""
        ...

    @property
    def initial_state(self) -> State:
        """The state at step 0."""
        ...

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the execution provider."""
        ...

    @property
    def output_dtype(self) -> str:
        """The numpy dtype of the first output."""
        ...

    @property
    def output_dtypes(self) -> tuple[str, ...]:
        """The numpy dtypes of all outputs, in the manifest's order."""
        ...

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        """The state of a session stored as `packed`, at that revision."""
        ...

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        """A session's state has just been committed at that revision."""
        ...


class OpenEngine(Protocol):
    """How engines are created: `OnnxEngine`, or a stand-in for it."""

    def __call__(
        self,
        graph: Path,
        manifest: Manifest,
        *,
        provider: Provider,
        threads: int = 1,
        helper_cpus: Sequence[int] = (),
        optimization: Optimization = "all",
        content: GraphContent | None = None,
    ) -> ModelEngine:
        """Open a graph, from memory if its `content` is given. Raises StartupError."""
        ...


@dataclass(slots=True, frozen=True)
class Model:
    """One loaded version of a model."""

    name: str
    version: str
    manifest: Manifest
    binding: Binding
    worker: Worker
    engine: ModelEngine
    difference: float  # the largest that batching and cutting made in trials; 0 = exact
    optimization: Optimization = "all"  # of ONNX Runtime
    states: Mapping[str, State] = field(default_factory=dict)  # named initial states, never written to

    @property
    def is_exact(self) -> bool:
        """Whether batching and cutting changed no bit of an answer in any trial."""
        return self.difference == 0.0

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the execution provider."""
        return self.engine.provider

    @property
    def output_dtype(self) -> str:
        """The numpy dtype of the first output."""
        return self.engine.output_dtype

    @property
    def output_dtypes(self) -> tuple[str, ...]:
        """The numpy dtypes of all outputs, in the manifest's order."""
        return self.engine.output_dtypes

    @property
    def layout(self) -> StateLayout:
        """The tensors of its state."""
        return self.engine.layout

    @property
    def initial_state(self) -> State:
        """The state at step 0. It is shared: never write to it."""
        return self.engine.initial_state

    def named_state(self, name: str) -> State:
        """The initial state of that name. It is shared: never write to it. Raises UnknownState."""
        return initial_states.choose(self.states, name, self.binding)

    def pack_state(self, state: State) -> bytes:
        """The recurrent tensors as bytes, as a store holds them."""
        return self.engine.layout.pack(state)

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        """The state of a session stored as `packed`: read-only views of it, or the copy on the device."""
        return self.engine.resume(key, revision, packed)

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        """Let the engine keep the state of a session that has just been committed at that revision."""
        self.engine.keep(key, revision, state)
