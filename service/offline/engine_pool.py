"""One process with the engine for each CPU: blocks in, encoded answers out.

    run ── block ──→ process: decode, engine, encode ── answers ──→ run

A process holds a model with one ONNX Runtime thread, as a worker of the server does. It knows pipes and
processes; where the blocks come from it does not know.
"""

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from service.engine import Batching, OnnxEngine, Provider
from service.engine.flat import Flat, run_flat
from service.engine.run_all import run_all
from service.errors import CellgateError, StartupError
from service.offline.answers import Encoder
from service.offline.block import Answer, Answered, Block
from service.offline.transfer import receive, send
from service.predict.kept import opening_state
from service.predict.timed import with_times
from service.repository import Hardware, Loader
from service.repository.load import PreparedModel
from service.sequence import Array, Origin, Sequence

# Each process has a CPU of its own: libraries that start a thread for each CPU would only compete.
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class EngineTask:
    """What a process needs to know."""

    folder: Path  # of the version
    provider: Provider
    threads: int
    max_batch: int
    chunk_steps: int
    max_call_bytes: float
    max_steps: int  # of one sequence
    keep_all: bool
    encoder: Encoder


class EngineProcess:
    """One process; used by one thread at a time."""

    def __init__(self, task: EngineTask) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        with _variables(ONE_THREAD):
            self._process.start()
        theirs.close()

    def answer(self, block: Block) -> Answered:
        """The answers of a block. Raises StartupError if the process cannot run the model, or has ended."""
        try:
            send(self._pipe, block)
            reply = receive(self._pipe)
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise StartupError(
                f"a process of the engine has ended, exit code {self._process.exitcode}: out of memory?"
            ) from error
        if isinstance(reply, str):
            raise StartupError(reply)
        return reply  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


class EnginePool:
    """Some such processes; any of their threads may ask for answers."""

    def __init__(self, task: EngineTask, num_processes: int) -> None:
        self.num_at_once = num_processes
        self._all = [EngineProcess(task) for _ in range(num_processes)]
        self._free: queue.SimpleQueue[EngineProcess] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def answer(self, block: Block) -> Answered:
        """The answers of a block, by the next process that is free. Raises StartupError."""
        process = self._free.get()
        try:
            return process.answer(block)
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End all of them."""
        for process in self._all:
            process.close()


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that a new process inherits, where the user has not set them."""
    added = values.keys() - os.environ.keys()
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _serve(pipe: Connection, task: EngineTask) -> None:
    """The main function of a process. It ends with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the run ends this process
    with contextlib.suppress(EOFError, OSError):
        _answer_all(pipe, task)


def _answer_all(pipe: Connection, task: EngineTask) -> None:
    """Answer blocks until the other end is closed. Raises EOFError or OSError then."""
    try:
        answer = answerer(task)
    except CellgateError as error:
        receive(pipe)
        send(pipe, error.detail)
        return
    while True:
        send(pipe, answer(receive(pipe)))


def answerer(task: EngineTask) -> Callable[[Block], Answered]:
    """Load the model; what answers blocks in this process. Raises StartupError."""
    batching = Batching(
        max_batch=task.max_batch,
        chunk_steps=task.chunk_steps,
        max_waiting=1 << 62,
        max_call_bytes=task.max_call_bytes,
    )
    prepared = Loader(batching, Hardware(task.provider, task.threads)).prepare(task.folder)
    spec = prepared.manifest.outputs[0]

    engine, ragged = prepared.engine, prepared.scheduler.ragged
    takes_flat = isinstance(engine, OnnxEngine) and engine.runs_rows and ragged

    def answer(block: Block) -> Answered:
        found = block.to_flat(prepared.manifest) if takes_flat else None
        plain = None if found is None else _compute_flat(prepared, found[0], task)
        if found is not None and plain is not None:
            return Answered(task.encoder.encode(spec, found[1], plain), len(block), 0, block.progress)
        keys, items = block.decode(prepared.manifest, max_steps=task.max_steps)
        answers = _compute(prepared, items, keep_all=task.keep_all)
        failed = sum([isinstance(each, dict) for each in answers])
        return Answered(task.encoder.encode(spec, keys, answers), len(items), failed, block.progress)

    return answer


def _compute_flat(prepared: PreparedModel, flat: Flat, task: EngineTask) -> Array | list[Array] | None:
    engine, max_batch = prepared.engine, prepared.scheduler.max_batch
    longest = np.diff(flat.ends, prepend=0).max()
    if not isinstance(engine, OnnxEngine) or longest > task.max_steps:
        return None
    try:
        return run_flat(engine, flat, max_batch=max_batch, keep_all=task.keep_all)
    except Exception as error:  # noqa: BLE001  each sequence has its own error then
        logger.debug("a block is run sequence by sequence: %s", error)
        return None


def _compute(prepared: PreparedModel, items: list[Any], *, keep_all: bool) -> list[Answer]:
    """An answer for each item. The longest run first, so that rows of a call are of about one length."""
    answers: list[Answer] = [{}] * len(items)
    origin = Origin(num_sequences=len(items))
    sequences: dict[int, Sequence] = {}
    for place, item in enumerate(items):
        try:
            if isinstance(item, CellgateError):
                raise item
            state = opening_state(prepared, item)
            item = with_times(prepared, item, state)
            sequences[place] = Sequence(item.inputs, state, keep_all=keep_all, origin=origin)
        except CellgateError as error:
            answers[place] = error.problem()
    run_all(sorted(sequences.values(), key=_steps), prepared.runner, prepared.scheduler)
    for place, sequence in sequences.items():
        answers[place] = sequence.output() if sequence.error is None else sequence.error.problem()
    return answers


def _steps(sequence: Sequence) -> int:
    return -sequence.steps
