"""Graphs on a GPU: parity of ragged batches, and the gain from states that stay on the device.

    python -m benchmarks gpu                     parity and steps/s of the engine alone
    CELLGATE_PROVIDER=cuda make bench            the loads (a) to (g) on the GPU

Needs `onnxruntime-gpu` instead of `onnxruntime`, a CUDA device, and its libraries.
"""

import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cache import FEATURES, Array, Model, Unavailable
from service.engine import OnnxEngine, Scheduler
from service.errors import StartupError
from service.manifest import Manifest
from service.sequence import Batch, Chunk, Sequence

MODELS = (Model(128, 1), Model(512, 2))
LENGTHS = (1, 40, 7, 23, 2, 40, 16, 31, 5)
BATCHES, STEPS, CHUNK = (1, 16, 64, 256), 256, 32
TOLERANCE = 1e-3


def run(console: Console, *, seconds: float = 2.0) -> bool:
    """Print both tables; whether the GPU's outputs equal the CPU's within TOLERANCE. Raises Unavailable."""
    is_right = True
    for model in MODELS:
        model.make()
        manifest = Manifest.read(model.graph.parent)
        try:
            cpu = OnnxEngine(model.graph, manifest, provider="cpu")
            stays = OnnxEngine(model.graph, manifest, provider="cuda")
            moves = OnnxEngine(model.graph, manifest, provider="cuda", device="")
        except StartupError as error:
            raise Unavailable(error.detail) from error
        in_ragged, in_even = (_difference(stays, cpu, ragged) for ragged in (True, False))
        console.print(
            f"{model.name}: largest difference from the CPU {in_ragged:.2g} in ragged batches, "
            f"{in_even:.2g} in even ones"
        )
        is_right = is_right and in_even < TOLERANCE
        console.print(_table(model.graph, {"CPU": cpu, "CUDA, states moved": moves, "CUDA": stays}, seconds))
    return is_right


def _difference(engine: OnnxEngine, reference: OnnxEngine, ragged: bool) -> float:
    """Largest difference of an output, in chunks and batches, from one-shot runs of the reference."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, FEATURES), np.float32) for length in LENGTHS]
    sequences = [Sequence((x,), engine.initial_state, keep_all=True) for x in inputs]
    scheduler = Scheduler(max_batch=len(LENGTHS), chunk_steps=8, max_waiting=len(LENGTHS), ragged=ragged)
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, engine.run(batch))
    return max(
        float(np.abs(sequence.output() - _one_shot(reference, x)).max())
        for x, sequence in zip(inputs, sequences, strict=True)
    )


def _one_shot(engine: OnnxEngine, x: Array) -> Array:
    sequence = Sequence((x,), engine.initial_state, keep_all=True)
    return engine.run(Batch([Chunk(sequence, 0, len(x))]))[0].output


def _table(graph: Path, engines: dict[str, OnnxEngine], seconds: float) -> Table:
    table = Table(title=f"{graph.parents[1].name}: steps/s, chunks of {CHUNK}", title_justify="left")
    table.add_column("batch", justify="right")
    for name in engines:
        table.add_column(name, justify="right")
    for batch in BATCHES:
        rates = [f"{_steps_per_s(engine, batch, seconds):,.0f}" for engine in engines.values()]
        table.add_row(str(batch), *rates)
    return table


def _steps_per_s(engine: OnnxEngine, rows: int, seconds: float) -> float:
    x = np.random.default_rng(0).standard_normal((STEPS, FEATURES), np.float32)
    done, started = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - started < seconds:
        sequences = [Sequence((x,), engine.initial_state) for _ in range(rows)]
        for start in range(0, STEPS, CHUNK):
            batch = Batch([Chunk(sequence, start, start + CHUNK) for sequence in sequences])
            for sequence, result in zip(sequences, engine.run(batch), strict=True):
                sequence.state = result.state
        done += rows * STEPS
    return done / (time.perf_counter() - started)
