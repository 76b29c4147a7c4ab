"""The models on disk: found, checked, tried on their own example, and kept ready.

    models/<name>/<version>/{model.onnx, model.json}

A model is served only if its manifest fits its graph and its example gives the expected answer.
"""

import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from service.codec import text
from service.engine.cores import NUM_SHARED, Cores
from service.engine.cost import TwoCosts
from service.engine.graph import CPU, Provider
from service.engine.onnx import OnnxEngine
from service.engine.paired import PairedEngine, pair
from service.engine.scheduler import Scheduler
from service.engine.worker import Spare, Worker
from service.errors import StartupError, UnknownModel, UnknownVersion
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from service.names import MODEL_NAME, MODEL_VERSION
from service.repository.model import Model
from service.repository.rehearsal import Batching, Rehearsal, scheduler_for
from service.sequence import Batch
from service.sessions.rules import Binding

logger = logging.getLogger(__name__)

# Beyond rounding: some versions of CUDA's LSTM misread rows shorter than their batch.
MAX_RAGGED_DIFFERENCE = 1e-3


@dataclass(slots=True, frozen=True)
class Hardware:
    """What models run on."""

    provider: Provider
    threads: int  # of ONNX Runtime, a model
    # Shared with the neighbouring worker, and new for each model.
    cores: Callable[[], Cores | None] = lambda: None


class Repository:
    """All loaded models, by name and version. The highest version of a name is its default.

    A version whose folder is gone retires: it is nobody's default any more, but goes on for those who name
    it, sessions above all, until it has not been asked for in a while.
    """

    def __init__(self, models: list[Model]) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._retired: dict[tuple[str, str], float] = {}  # when it was last asked for
        for model in models:
            self.add(model)

    def add(self, model: Model) -> Model | None:
        """Serve a model; the one that had its name and version is returned, still running."""
        versions = self._models.setdefault(model.name, {})
        before = versions.get(model.version)
        versions[model.version] = model
        self._models[model.name] = dict(sorted(versions.items(), key=lambda item: int(item[0])))
        self._models = dict(sorted(self._models.items()))
        self._retired.pop((model.name, model.version), None)
        return before

    def retire(self, name: str, version: str, now: float) -> None:
        """Give a version to those alone who name it; one that was never served is nobody's."""
        if version in self._models.get(name, {}):
            self._retired.setdefault((name, version), now)

    def take_idle(self, before: float) -> list[Model]:
        """Remove the retired that were last asked for before then; they are still running."""
        idle = [key for key, asked in self._retired.items() if asked < before]
        models = []
        for name, version in idle:
            del self._retired[name, version]
            models.append(self._models[name].pop(version))
            if not self._models[name]:
                del self._models[name]
        return models

    def is_retired(self, model: Model) -> bool:
        """Whether it is on its way out."""
        return (model.name, model.version) in self._retired

    @classmethod
    def load(
        cls,
        root: Path,
        batching: Batching,
        hardware: Hardware,
        *,
        on_death: Callable[[], None],
        skips_faulty: bool = False,
    ) -> "Repository":
        """Load every version below `root`; with `skips_faulty`, one that cannot be served is only told of.

        Raises StartupError, naming the folder, for one that cannot be served, or when there is none at all.
        """
        models = []
        for folder in _folders(root):
            try:
                models.append(prepare(folder, batching, hardware).start(on_death))
            except (StartupError, OSError) as error:  # or it is being taken away just now
                if not skips_faulty:
                    raise
                logger.error("not served: %s", error)
        if not models:
            raise StartupError(f"no model in {root.resolve()} can be served")
        return cls(models)

    def __iter__(self) -> Iterator[Model]:
        for versions in self._models.values():
            yield from versions.values()

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """A model by name (needless when there is only one) and version (default: the highest).

        Raises UnknownModel or UnknownVersion.
        """
        if name is None:
            if len(self._models) != 1:
                raise UnknownModel(f"say which model: {', '.join(self._models)}", pointer="/model")
            name = next(iter(self._models))
        versions = self._models.get(name)
        if versions is None:
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}", pointer="/model")
        if version is None:
            return self._default(name, versions)
        if (name, version) in self._retired:
            self._retired[name, version] = time.monotonic()
        if version not in versions:
            raise UnknownVersion(
                f"no version {version!r} of {name}; there are {', '.join(versions)}", pointer="/version"
            )
        return versions[version]

    def _default(self, name: str, versions: dict[str, Model]) -> Model:
        if self._retired:
            versions = {key: model for key, model in versions.items() if (name, key) not in self._retired}
            if not versions:
                raise UnknownModel(f"model {name!r} is retiring: name its version to go on", pointer="/model")
        return versions[next(reversed(versions))]

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
        for model in list(self):
            await model.worker.stop()


def find(root: Path) -> Iterator[Path]:
    """Version folders below `root`, in order; whatever is not named like one is passed over."""
    for name in sorted(path for path in root.glob("*") if path.is_dir() and MODEL_NAME.fullmatch(path.name)):
        versions = [path for path in name.glob("*") if path.is_dir() and MODEL_VERSION.fullmatch(path.name)]
        yield from sorted(versions, key=lambda path: int(path.name))


def _folders(root: Path) -> list[Path]:
    folders = list(find(root))
    if not folders:
        raise StartupError(
            f"no model in {root.resolve()}: expected <name>/<version>/{GRAPH_FILE} and {MANIFEST_FILE}"
        )
    return folders


def check_folders(root: Path) -> None:
    """See whether there are versions below `root`, with graph and manifest. Loads no graph.

    Raises StartupError.
    """
    for folder in _folders(root):
        read_manifest(folder)
        if not (folder / GRAPH_FILE).is_file():
            raise StartupError(f"{folder / GRAPH_FILE}: no such file")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder. Raises StartupError that says what is wrong where."""
    try:
        return Manifest.read(folder)
    except OSError as error:
        raise StartupError(f"{folder / MANIFEST_FILE}: {error.strerror}") from error
    except ValidationError as error:
        # One about the whole has no place, but says line and column where it is about the JSON.
        faults = [
            ".".join(map(str, fault["loc"])) + ": " * bool(fault["loc"]) + fault["msg"]
            for fault in error.errors()
        ]
        raise StartupError(f"{folder / MANIFEST_FILE}: {'; '.join(faults)}") from error


@dataclass(slots=True, frozen=True)
class Shelved:
    """A model version on disk, which need not be loaded to say what its sessions are."""

    manifest: Manifest
    binding: Binding


def shelved(root: Path) -> Callable[[str | None, str | None], Shelved]:
    """Finds a version below `root`, as `Repository.get` finds a loaded one."""

    def get(name: str | None, version: str | None) -> Shelved:
        folders = [folder for folder in find(root) if name in (None, folder.parent.name)]
        if not folders:
            raise UnknownModel(f"no model {name or ''} in {root.resolve()}")
        chosen = [folder for folder in folders if version in (None, folder.name)]
        if not chosen:
            raise UnknownVersion(f"no version {version!r} of {name} in {root.resolve()}")
        folder = chosen[-1]
        return Shelved(read_manifest(folder), _binding(folder))

    return get


def _binding(folder: Path) -> Binding:
    graph = hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]
    return Binding(folder.parent.name, folder.name, graph)


@dataclass(slots=True, frozen=True)
class Prepared:
    """A version that is checked, tried and timed, and needs only an event loop to be served."""

    binding: Binding
    manifest: Manifest
    engine: OnnxEngine
    paired: PairedEngine | None
    cores: Cores | None
    scheduler: Scheduler
    inline_s: float
    difference: float

    def start(self, on_death: Callable[[], None]) -> Model:
        """Serve it on the running event loop."""
        return Model(
            name=self.binding.model,
            version=self.binding.version,
            manifest=self.manifest,
            binding=self.binding,
            worker=self._worker(on_death),
            engine=self.engine,
            difference=self.difference,
        )

    def _worker(self, on_death: Callable[[], None]) -> Worker:
        cost, cores, inline_s = self.scheduler.cost, self.cores, self.inline_s
        few = self.paired.rows if self.paired is not None else 0

        def in_thread(batch: Batch) -> bool:
            # Both cores have to be waited for: not on the event loop.
            return few > 0 or cost.predict(len(batch.chunks), batch.steps) > inline_s

        if cores is None:
            return Worker(self.scheduler, self.engine, on_death=on_death, in_thread=in_thread)
        return Worker(
            self.scheduler,
            self.paired or self.engine,
            on_death=on_death,
            in_thread=in_thread,
            turn=lambda batch: _turn(cores, few, len(batch.chunks)),
            spare=Spare(self.engine, cores.borrow, cores.note, min_waiting=few + 1, min_wait_s=inline_s),
        )


def _turn(cores: Cores, few: int, rows: int) -> AbstractContextManager[None]:
    return cores.take_both() if rows <= few else cores.take_own()


def _cores_for(manifest: Manifest, engine: OnnxEngine, hardware: Hardware) -> Cores | None:
    """Those to share. A sequence that cannot be cut would keep whoever waits for them waiting too long."""
    if not manifest.chunkable or engine.provider != CPU:
        return None
    try:
        return hardware.cores()
    except OSError as error:
        logger.warning("cores are not shared: %s", error)
        return None


def prepare(folder: Path, batching: Batching, hardware: Hardware) -> Prepared:
    """Load a version folder and try it on its example; may run in a thread. Raises StartupError."""
    manifest = read_manifest(folder)
    for spec in manifest.inputs:
        text.check(spec)
    graph = folder / GRAPH_FILE
    engine = OnnxEngine(graph, manifest, provider=hardware.provider, threads=hardware.threads)
    rehearsal = Rehearsal(manifest, engine, engine.initial_state, folder)
    difference, ragged = rehearsal.check(), True
    if difference > MAX_RAGGED_DIFFERENCE and (even := rehearsal.check(ragged=False)) < difference:
        logger.warning(
            "%s: rows of different lengths in a batch change the answer by %g on %s; they will not share one",
            folder,
            difference,
            engine.provider,
        )
        difference, ragged = even, False
    scheduler = scheduler_for(manifest, batching, ragged=ragged)
    cores = _cores_for(manifest, engine, hardware)
    paired = pair(graph, engine, cores, scheduler.max_batch) if cores is not None else None
    if paired is not None:
        # Also a sequence that goes from one way of running to the other and back.
        for way in (replace(paired, rows=1), paired):
            difference = max(difference, replace(rehearsal, engine=way).check(ragged=ragged))
        scheduler.cost = TwoCosts(paired.rows, NUM_SHARED)
        rehearsal = replace(rehearsal, engine=paired)
    if cores is not None:
        turn = functools.partial(_turn, cores, paired.rows if paired is not None else 0)
        rehearsal = replace(rehearsal, turn=turn)
    rehearsal.calibrate(scheduler.cost)
    binding = _binding(folder)
    logger.info(
        "model %s version %s on %s, %s%s",
        binding.model,
        binding.version,
        engine.provider,
        "exact" if difference == 0 else f"max difference {difference:g}",
        "" if paired is None else f"; calls of up to {paired.rows} sequences on {NUM_SHARED} cores",
    )
    return Prepared(binding, manifest, engine, paired, cores, scheduler, batching.inline_s, difference)
