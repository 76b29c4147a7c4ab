"""The values that the scheduler moves: a sequence, a chunk of it, and the batch of one engine call.

Pure values. They know no clock, HTTP or ONNX Runtime.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import CellgateError
from service.trace import Trace

Array = NDArray[Any]
State = tuple[Array, ...]  # one array per tensor of `StateLayout`, without the batch axis

# Whether a request starts its session: if there is none; never; only if there is none; even if there is one;
# only if there is none, from a state that the client gives.
Start = Literal["auto", "no", "new", "restart", "given"]


@dataclass(slots=True, eq=False)
class Origin:
    """The request that sequences belong to. Work is shared by tenant, then by request."""

    tenant: str = ""
    deadline: float = inf  # seconds, by the clock of `Scheduler.schedule`
    num_sequences: int = 1
    trace: Trace | None = None  # for log lines about one of its sequences


NO_ORIGIN = Origin()  # of sequences that belong to no request: each is one of its own


@dataclass(slots=True, eq=False)
class Sequence:
    """A sequence of time steps that the engine consumes chunk by chunk."""

    # One per input with time steps (`Manifest.step_inputs`), each [time, *dims]. Behind them may be the
    # seconds of each step, [time], of a model whose state keeps the time of the last.
    inputs: tuple[Array, ...]
    state: State  # after the steps done so far, with the values of the inputs that have no time axis
    keep_all: bool = False  # keep the output of every step, not only of the last
    done: int = 0  # steps consumed so far
    cancelled: bool = False
    outputs: list[Array] = field(default_factory=list)  # of the first output, each [steps of a chunk, *dims]
    extra: tuple[int, ...] = ()  # indexes of further outputs wanted, from 1
    extras: list[tuple[Array, ...]] = field(default_factory=list)  # of each chunk, as `Result.extra`
    error: CellgateError | None = None  # why it failed
    run_s: float = 0.0  # seconds of the engine calls that it took part in
    origin: Origin = NO_ORIGIN
    tag: float = 0.0  # its place in the queue, in virtual time (see `service.engine.fair_queue`)
    number: int = 0  # in order of arrival
    states: tuple[State, ...] = ()  # after each step, of a sequence that was computed step by step

    @property
    def steps(self) -> int:
        """Time steps in all."""
        return len(self.inputs[0])

    @property
    def remaining(self) -> int:
        """Time steps not consumed yet."""
        return len(self.inputs[0]) - self.done

    def output(self, index: int = 0) -> Array:
        """[time, *dims] with `keep_all`, else [*dims]: an output at the last step. Raises `error`, if any.

        `index`: of the manifest's outputs; 0, or one of `extra`.
        """
        if self.error is not None:
            raise self.error
        pieces = self.outputs if index == 0 else self._pieces_of(index)
        if self.keep_all:
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        last: Array = pieces[-1][-1]
        return last

    def _pieces_of(self, index: int) -> list[Array]:
        place = self.extra.index(index)
        return [pieces[place] for pieces in self.extras]


class Chunk(NamedTuple):
    """Steps [start, stop) of one sequence; never empty, since a row of length 0 would lose its state."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def steps(self) -> int:
        """Time steps in this chunk, at least one."""
        return self.stop - self.start

    @property
    def is_last(self) -> bool:
        """Whether the sequence ends with this chunk."""
        return self.stop == self.sequence.steps


@dataclass(slots=True)
class Batch:
    """The chunks, of different sequences, that go through one engine call."""

    chunks: list[Chunk]
    steps: int = field(init=False)  # of the longest chunk: the length of the call's time axis

    def __post_init__(self) -> None:
        self.steps = max([chunk.stop - chunk.start for chunk in self.chunks])


class Result(NamedTuple):
    """The output of one chunk, and the state after it."""

    output: Array  # [steps, *dims], or only the last step: [1, *dims]
    state: State
    extra: tuple[Array, ...] = ()  # the further outputs that the sequence wants, alike
    error: CellgateError | None = None  # of this sequence alone; the rest is meaningless then


class Engine(Protocol):
    """The interface between the worker and ONNX Runtime."""

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch; one result per chunk, in order. The only call of the loop that may raise."""
        ...
