"""The models on disk: found, checked, tried on their own example, and kept ready.

    models/<name>/<version>/{model.onnx, model.json}

A model is served only if its manifest fits its graph and its example gives the expected answer.
"""

import hashlib
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from service import codec
from service.engine import OnnxEngine, Provider
from service.errors import CellgateError, StartupError, UnknownModel, UnknownVersion
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Example, Manifest
from service.scheduler import Scheduler
from service.sequence import Array, Engine, Sequence, State
from service.sessions import Binding
from service.worker import Worker

logger = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
EXAMPLE_STEPS = 100_000  # a bound for the codec; an example is the model's own


@dataclass(slots=True, frozen=True)
class Model:
    """One loaded version of a model."""

    name: str
    version: str
    manifest: Manifest
    binding: Binding
    worker: Worker
    zero: State  # the state at step 0
    provider: str
    difference: float  # max abs difference between ragged, chunked batches and one shot; 0 = exact

    @property
    def is_exact(self) -> bool:
        """Whether batching and chunking changed no bit of the example's answer."""
        return self.difference == 0.0

    def pack_state(self, state: State) -> bytes:
        """The recurrent tensors as bytes, one after the other, in the manifest's order."""
        return b"".join([np.ascontiguousarray(array).tobytes() for array in state])

    def unpack_state(self, packed: bytes) -> State:
        """Undo `pack_state`. The arrays are views of `packed` and cannot be written to."""
        arrays, start = [], 0
        for array in self.zero:
            arrays.append(np.frombuffer(packed, array.dtype, array.size, start).reshape(array.shape))
            start += array.nbytes
        return tuple(arrays)


@dataclass(slots=True, frozen=True)
class Batching:
    """The bounds under which every model is batched."""

    max_batch: int
    chunk_steps: int
    max_waiting: int


class Repository:
    """All loaded models, by name and version. The highest version of a name is its default."""

    def __init__(self, models: list[Model]) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        for model in sorted(models, key=lambda model: (model.name, int(model.version))):
            self._models.setdefault(model.name, {})[model.version] = model

    @classmethod
    def load(
        cls, root: Path, batching: Batching, *, provider: Provider, threads: int, on_death: Callable[[], None]
    ) -> "Repository":
        """Load every version below `root`. Raises StartupError, naming the folder that cannot be served."""
        folders = list(find(root))
        if not folders:
            raise StartupError(
                f"no model in {root.resolve()}: expected <name>/<version>/{GRAPH_FILE} and {MANIFEST_FILE}"
            )
        return cls([_load(folder, batching, provider, threads, on_death) for folder in folders])

    def __iter__(self) -> Iterator[Model]:
        for versions in self._models.values():
            yield from versions.values()

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """A model by name (needless when there is only one) and version (default: the highest).

        Raises UnknownModel or UnknownVersion.
        """
        if name is None:
            if len(self._models) > 1:
                raise UnknownModel(f"say which model: {', '.join(self._models)}", pointer="/model")
            name = next(iter(self._models))
        versions = self._models.get(name)
        if versions is None:
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}", pointer="/model")
        if version is None:
            return versions[next(reversed(versions))]
        if version not in versions:
            raise UnknownVersion(
                f"no version {version!r} of {name}; there are {', '.join(versions)}", pointer="/version"
            )
        return versions[version]

    def versions(self, name: str) -> list[Model]:
        """All versions of one model, lowest first. Raises UnknownModel."""
        if name not in self._models:
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}")
        return list(self._models[name].values())

    @property
    def is_alive(self) -> bool:
        """Whether every model would answer."""
        return all(model.worker.is_alive for model in self)

    async def stop(self) -> None:
        """Finish what is queued in every model."""
        for model in self:
            await model.worker.stop()


def find(root: Path) -> Iterator[Path]:
    """Version folders below `root`, in order; whatever is not named like one is passed over."""
    for name in sorted(path for path in root.glob("*") if path.is_dir() and NAME.fullmatch(path.name)):
        versions = [path for path in name.glob("*") if path.is_dir() and VERSION.fullmatch(path.name)]
        yield from sorted(versions, key=lambda path: int(path.name))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder. Raises StartupError that says what is wrong where."""
    try:
        return Manifest.read(folder)
    except OSError as error:
        raise StartupError(f"{folder / MANIFEST_FILE}: {error.strerror}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise StartupError(f"{folder / MANIFEST_FILE}: {faults}") from error


def _load(
    folder: Path, batching: Batching, provider: Provider, threads: int, on_death: Callable[[], None]
) -> Model:
    name, version = folder.parent.name, folder.name
    manifest = read_manifest(folder)
    unsupported = {spec.kind for spec in manifest.inputs} - {"numeric", "token", "image"}
    if unsupported:
        raise StartupError(f"{folder}: inputs of kind {', '.join(unsupported)} are not served yet")
    engine = OnnxEngine(folder / GRAPH_FILE, manifest, provider=provider, threads=threads)
    scheduler = _scheduler(manifest, batching)
    difference = check_example(manifest, engine, engine.initial_state(), folder)
    fingerprint = hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]
    logger.info(
        "model %s version %s on %s, %s",
        name, version, engine.provider, "exact" if difference == 0 else f"max difference {difference:g}",
    )  # fmt: skip
    return Model(
        name=name,
        version=version,
        manifest=manifest,
        binding=Binding(name, version, fingerprint),
        worker=Worker(scheduler, engine, on_death=on_death),
        zero=engine.initial_state(),
        provider=engine.provider,
        difference=difference,
    )


def _scheduler(manifest: Manifest, batching: Batching) -> Scheduler:
    axes = manifest.axes
    has_batch = axes.batch is not None and all(state.batch_axis is not None for state in manifest.states)
    # Without lengths a long row is cut where the shortest ends; one that must not be cut goes alone.
    can_mix = manifest.chunkable or manifest.lengths is not None
    size = axes.batch_size or (batching.max_batch if has_batch else 1)
    return Scheduler(
        max_batch=size if can_mix else 1,
        chunk_steps=1 if axes.time is None else batching.chunk_steps if manifest.chunkable else sys.maxsize,
        max_waiting=batching.max_waiting,
        ragged=manifest.lengths is not None,
    )


def check_example(manifest: Manifest, engine: Engine, zero: State, folder: Path) -> float:
    """Run the example in one shot and hold it against the expected answer; then in ragged batches and chunks.

    Returns the max abs difference that batching and chunking make. Raises StartupError on a wrong answer.
    """
    if manifest.example is None:
        raise StartupError(
            f"{folder / MANIFEST_FILE}: an example (steps and output) is needed to check the graph"
        )
    document = codec.Document([manifest.example.steps], has_literals=True)
    try:
        inputs = codec.decode_item(document, 0, manifest, max_steps=EXAMPLE_STEPS).inputs
        whole = _run(
            manifest, engine, [Sequence(inputs, zero, keep_all=_keeps_all(manifest))], _one_shot(manifest)
        )[0]
    except CellgateError as error:
        raise StartupError(f"{folder}: the example cannot be run: {error.detail}") from error
    last = whole[-1] if _keeps_all(manifest) else whole
    expected = np.asarray(manifest.example.output, np.float64)
    if last.shape != expected.shape or not np.allclose(
        last, expected, rtol=0, atol=manifest.example.tolerance
    ):
        raise StartupError(
            f"{folder}: the example gives {last.tolist()}, the manifest expects {expected.tolist()}"
        )
    return _chunked_difference(manifest, engine, zero, inputs, whole)


def _chunked_difference(
    manifest: Manifest, engine: Engine, zero: State, inputs: tuple[Array, ...], whole: Array
) -> float:
    """Prefixes of the example, of all lengths, together and in pieces of three, against the one-shot run."""
    if not manifest.chunkable or not _keeps_all(manifest):
        return 0.0
    total = len(whole)
    lengths = sorted({total, max(1, total // 2), max(1, total // 3), 1}, reverse=True)
    sequences = [Sequence(tuple(x[:n] for x in inputs), zero, keep_all=True) for n in lengths]
    batching = Batching(max_batch=len(lengths), chunk_steps=3, max_waiting=len(lengths))
    outputs = _run(manifest, engine, sequences, _scheduler(manifest, batching))
    return max(float(np.abs(y - whole[: len(y)]).max()) for y in outputs)


def _one_shot(manifest: Manifest) -> Scheduler:
    return _scheduler(manifest, Batching(max_batch=1, chunk_steps=EXAMPLE_STEPS, max_waiting=1))


def _run(manifest: Manifest, engine: Engine, sequences: list[Sequence], scheduler: Scheduler) -> list[Array]:
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        try:
            scheduler.commit(batch, engine.run(batch))
        except Exception as error:
            raise StartupError(f"{manifest.task} graph fails on its example: {error}") from error
    return [sequence.output() for sequence in sequences]


def _keeps_all(manifest: Manifest) -> bool:
    return manifest.outputs[0].steps == "all"


def with_example(graph: Path, manifest: Manifest, steps: int = 5) -> Manifest:
    """Add an example to a proposed manifest: small made-up numbers, and what the graph answers to them.

    Raises StartupError when the graph does not run as the manifest says.
    """
    engine = OnnxEngine(graph, manifest, provider="cpu")
    inputs = tuple(_made_up(spec.dims, spec.dtype, steps) for spec in manifest.inputs)
    sequence = Sequence(inputs, engine.initial_state(), keep_all=_keeps_all(manifest))
    output = _run(manifest, engine, [sequence], _one_shot(manifest))[0]
    rows = [array.tolist() for array in inputs]
    example = Example(
        steps=rows[0] if len(rows) == 1 else dict(zip((s.name for s in manifest.inputs), rows, strict=True)),
        output=(output[-1] if _keeps_all(manifest) else output).tolist(),
    )
    return manifest.model_copy(update={"example": example})


def _made_up(dims: tuple[int, ...], dtype: str, steps: int) -> Array:
    count = steps * math.prod(dims)
    made: Array = (np.arange(count) % 7 / 7 if dtype.startswith("float") else np.arange(count) % 2).astype(
        dtype
    )
    return made.reshape(steps, *dims)
