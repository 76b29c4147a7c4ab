"""Loads models as the server does, for tests that then schedule and run batches themselves."""

import asyncio
from pathlib import Path

from service.engine import Batching
from service.repository import Hardware, Loader, Model, Repository
from service.sequence import Array, Sequence

BATCHING = Batching(max_batch=8, chunk_steps=4, max_waiting=99)


def load(root: Path, batching: Batching = BATCHING) -> Repository:
    """All models below `root`. Raises StartupError."""

    async def work() -> Repository:
        return Repository.load(root, Loader(batching, Hardware("cpu", 1)))

    return asyncio.run(work())


def run(model: Model, inputs: list[tuple[Array, ...]], *, keep_all: bool = True) -> list[Array]:
    """The outputs of sequences that all arrive together."""
    scheduler, engine = model.worker.scheduler, model.engine
    sequences = [Sequence(x, model.initial_state, keep_all=keep_all) for x in inputs]
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, engine.run(batch))
    return [sequence.output() for sequence in sequences]
