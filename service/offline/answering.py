"""The answers of a block, computed by the engine in this process.

    block ──→ plain sequences, as whole arrays ──→ calls of about equal lengths ──→ encoded answers
        └───→ the others, decoded one by one ────→ the scheduler's calls ─────────────┘

It knows blocks, models and their engine; it knows nothing of files or processes.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from service.engine import Batching, OnnxEngine, Provider
from service.engine.flat import MAX_STEPS, Flat, run_flat
from service.engine.run_all import run_all
from service.errors import CellgateError
from service.offline.answers import Encoder
from service.offline.batch_size import BatchSize
from service.offline.block import Answer, Answered, Answers, Block, Keys, Plain
from service.predict.kept import opening_state
from service.predict.timed import with_times
from service.repository import Hardware, Loader
from service.repository.load import PreparedModel
from service.sequence import Array, Origin, Sequence

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


def answerer(task: EngineTask) -> Callable[[Block], Answered]:
    """Load the model; what answers blocks in this process. Raises StartupError."""
    batching = Batching(
        max_batch=task.max_batch,
        chunk_steps=task.chunk_steps,
        max_waiting=1 << 62,
        max_call_bytes=task.max_call_bytes,
    )
    loader = Loader(batching, Hardware(task.provider, task.threads), shows_gates=False)
    prepared = loader.prepare(task.folder)
    spec = prepared.manifest.outputs[0]

    engine, ragged = prepared.engine, prepared.scheduler.ragged
    takes_flat = isinstance(engine, OnnxEngine) and engine.runs_rows and ragged

    batch_size = BatchSize(prepared.scheduler.max_batch)

    def answer(block: Block) -> Answered:
        plain = block.to_flat(prepared.manifest) if takes_flat else None
        computed = None if plain is None else _compute_flat(prepared, plain, task, batch_size)
        if plain is not None and computed is not None and computed.is_answered.all():
            encoded = task.encoder.encode(spec, plain.keys, computed.answers)
            return Answered(encoded, len(block), 0, block.progress)
        rest = block if computed is None else block.only(~computed.is_answered)
        keys, items = rest.decode(prepared.manifest, max_steps=task.max_steps)
        answers = _compute(prepared, items, keep_all=task.keep_all)
        if plain is not None and computed is not None:
            keys, answers = _merged(plain.keys, computed, keys, answers)
        failed = sum([isinstance(each, dict) for each in answers])
        return Answered(task.encoder.encode(spec, keys, answers), len(answers), failed, block.progress)

    return answer


class Computed(NamedTuple):
    """What was computed of whole arrays."""

    answers: Answers  # of the sequences that are answered, in order
    is_answered: Array  # [sequences] bool


def _merged(
    keys: Keys, computed: Computed, other_keys: Keys, others: list[Answer]
) -> tuple[Keys, list[Answer]]:
    """All keys and answers of a block in order: what is not computed is in the others, in their order."""
    own, rest = iter(computed.answers), iter(zip(other_keys.values, others, strict=True))
    pairs = [
        (key, next(own)) if is_answered else next(rest)
        for key, is_answered in zip(keys.values, computed.is_answered.tolist(), strict=True)
    ]
    return keys._replace(values=[key for key, _ in pairs]), [answer for _, answer in pairs]


def _compute_flat(
    prepared: PreparedModel, plain: Plain, task: EngineTask, batch_size: BatchSize
) -> Computed | None:
    """The answers of the sequences that are plain and short; None: all are to be run one by one."""
    engine = prepared.engine
    chosen = plain.is_plain & (plain.flat.lengths <= min(task.max_steps, MAX_STEPS))
    if not isinstance(engine, OnnxEngine) or not chosen.any():
        return None
    inputs, starts, ends = plain.flat
    flat = Flat(inputs, starts[chosen], ends[chosen])
    started = time.thread_time()
    try:
        answers = run_flat(engine, flat, max_batch=batch_size.next, keep_all=task.keep_all)
    except Exception as error:  # noqa: BLE001  each sequence has its own error then
        logger.debug("a block is run sequence by sequence: %s", error)
        return None
    batch_size.measured(time.thread_time() - started, int(flat.lengths.sum()))
    return None if answers is None else Computed(answers, chosen)


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
