"""Loads one version folder: open the graph, rehearse the example, choose where calls run, calibrate the cost.

A version is served only if its manifest fits its graph and its example gives the expected answer.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from service.codec import text
from service.engine import (
    CPU,
    NUM_SHARED,
    Batching,
    Cores,
    Cost,
    OnnxEngine,
    PairedEngine,
    Provider,
    Runner,
    Scheduler,
    SharedCoresRunner,
    SingleCoreRunner,
    Trial,
    TwoCosts,
    WholeSequences,
    Worker,
    WorkerSlot,
    max_batch_for,
    scheduler_for,
)
from service.engine.content import GraphContent
from service.engine.graph import Optimization
from service.errors import StartupError
from service.manifest import GRAPH_FILE, Manifest
from service.metrics import Calls, Metrics
from service.repository import initial_states
from service.repository.binding import bind
from service.repository.compare import draws_random_numbers, is_quantized, rounding
from service.repository.examine import Examination
from service.repository.findings import Measurement
from service.repository.folders import read_manifest
from service.repository.graph_file import GraphFile
from service.repository.model import Model, ModelEngine, OpenEngine
from service.repository.pairing import check_pair, try_pair
from service.repository.rehearsal import Rehearsal
from service.repository.sizes import with_fixed_sizes
from service.repository.snapshot import Snapshot, fingerprint
from service.repository.traced import check_traced, opening
from service.repository.widths import step_bytes
from service.sequence import Engine, State
from service.sessions import Binding
from service.state import StateLayout

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Hardware:
    """What models run on."""

    provider: Provider
    threads: int  # of ONNX Runtime, for each model
    slot: WorkerSlot | None = None  # set if this worker shares cores with another

    def open_cores(self) -> Cores | None:
        """The shared cores, for one model. They are optional: without them a warning is logged."""
        if self.slot is None:
            return None
        try:
            return self.slot.open_cores()
        except OSError as error:
            logger.warning("cores are not shared: %s", error)
            return None


@dataclass(slots=True, frozen=True)
class PreparedModel:
    """A version that has been checked and timed, and needs only an event loop to be served."""

    binding: Binding
    manifest: Manifest
    engine: ModelEngine
    scheduler: Scheduler
    runner: Runner
    difference: float
    optimization: Optimization = "all"
    seconds: float = 0.0  # that the load took, without a trial
    states: Mapping[str, State] = field(default_factory=dict)  # named initial states

    @property
    def layout(self) -> StateLayout:
        """The tensors of its state."""
        return self.engine.layout

    @property
    def initial_state(self) -> State:
        """The state at step 0. It is shared: never write to it."""
        return self.engine.initial_state

    def start(self, on_failure: Callable[[], None] | None = None, metrics: Metrics | None = None) -> Model:
        """Serve it on the running event loop. `on_failure`: see `Worker`; `metrics`: count its calls."""
        calls = None if metrics is None else Calls(metrics, self.binding.model, self.binding.version)
        return Model(
            name=self.binding.model,
            version=self.binding.version,
            manifest=self.manifest,
            binding=self.binding,
            worker=Worker(self.scheduler, self.runner, on_failure=on_failure, calls=calls),
            engine=self.engine,
            difference=self.difference,
            optimization=self.optimization,
            states=self.states,
        )


@dataclass(slots=True, frozen=True)
class Loader:
    """Loads version folders, all under the same bounds and on the same hardware."""

    batching: Batching
    hardware: Hardware
    on_failure: Callable[[], None] | None = None  # called if a bug ends a model's inference loop
    open_engine: OpenEngine = OnnxEngine
    trial: Trial = field(default_factory=Trial)
    metrics: Metrics | None = None
    shows_gates: bool = True  # false: models are loaded as if they had no gates

    def load(self, folder: Path) -> Model:
        """Load a version folder and serve it on the running event loop. Raises StartupError or OSError."""
        return self.start(self.prepare(folder))

    def start(self, prepared: PreparedModel) -> Model:
        """Serve a prepared version on the running event loop."""
        return prepared.start(self.on_failure, self.metrics)

    def prepare(
        self,
        folder: Path,
        files: bytes | None = None,
        states: Mapping[str, bytes] | None = None,
        content: GraphContent | None = None,
    ) -> PreparedModel:
        """Load a version folder and try it on its example; may run in a thread.

        `files`: the fingerprint of the files that are loaded; None: they are read again for it.
        `states`: the files of named initial states; None: they are read.
        `content`: of the graph; None: it is read from the disk.

        Raises StartupError, or OSError if the folder is being deleted.
        """
        manifest, graph = read_manifest(folder), GraphFile.read(folder / GRAPH_FILE)
        _check_repeatable(folder, graph)
        whole = with_fixed_sizes(manifest, graph.inputs)
        manifest, open_engine = whole.without_gates(), self.open_engine
        if whole.gates:
            content = content or Snapshot.read(folder).content
            open_engine = opening(open_engine, graph, content, whole, shows_gates=self.shows_gates)
            whole = whole if self.shows_gates else manifest
        engine = self._open_engine(open_engine, folder, manifest)
        states = initial_states.read_files(folder) if states is None else states
        named = initial_states.parse(states, engine.layout, manifest, folder)
        rehearsal = Rehearsal(manifest, engine.initial_state, folder)
        rehearsal.check(engine)
        examination = self._examination(rehearsal, engine, graph)
        found = examination.measure(engine)
        _log_limits(examination, found, engine.provider)
        difference, ragged = found.difference, found.ragged
        batching = replace(self.batching, max_batch=min(self.batching.max_batch, found.max_rows))
        max_batch = max_batch_for(manifest, batching, ragged=ragged)
        calls = engine if manifest.chunkable else self._bounded(engine, graph)
        if whole.gates:
            difference = max(
                difference, check_traced(rehearsal, engine, whole, rounding=examination.rounding)
            )
        runner, cost, paired = self._choose_runner(rehearsal, engine, calls, max_batch, open_engine)
        if paired is not None:
            difference = max(difference, check_pair(rehearsal, examination, paired))
        rehearsal.calibrate(cost, runner.run_in_thread)
        scheduler = scheduler_for(manifest, batching, cost, ragged=ragged)
        binding = bind(folder, files or fingerprint(folder), manifest, graph.graph)
        prepared = PreparedModel(binding, whole, engine, scheduler, runner, difference, states=named)
        _log(prepared, 0 if paired is None else paired.max_rows)
        return prepared

    def _open_engine(self, open_engine: OpenEngine, folder: Path, manifest: Manifest) -> ModelEngine:
        for spec in manifest.inputs:
            text.check(spec)
        return open_engine(
            folder / GRAPH_FILE, manifest, provider=self.hardware.provider, threads=self.hardware.threads
        )

    def _examination(self, rehearsal: Rehearsal, engine: ModelEngine, graph: GraphFile) -> Examination:
        _, inputs, state = rehearsal.read_example()
        manifest = rehearsal.manifest
        return Examination(
            manifest,
            state,
            rehearsal.folder,
            inputs,
            batching=self.batching,
            rounding=rounding(manifest, engine.provider, is_quantized=is_quantized(graph.graph)),
        )

    def _bounded(self, engine: Engine, graph: GraphFile) -> Engine:
        return WholeSequences(
            engine, step_bytes=step_bytes(graph.graph), max_call_bytes=self.batching.max_call_bytes
        )

    def _choose_runner(
        self,
        rehearsal: Rehearsal,
        engine: ModelEngine,
        calls: Engine,
        max_batch: int,
        open_engine: OpenEngine,
    ) -> tuple[Runner, Cost, PairedEngine | None]:
        """Share cores if this worker can; run few rows on both of them if that pays.

        `calls`: the engine, within bounds if its graph needs sequences whole.
        """
        manifest, inline_s = rehearsal.manifest, self.batching.inline_s
        # A sequence that cannot be cut would occupy a core for too long while the other worker waits for it.
        cores = self.hardware.open_cores() if manifest.chunkable and engine.provider == CPU else None
        if cores is None:
            cost = Cost()
            return SingleCoreRunner(calls, cost, inline_s=inline_s), cost, None
        paired = try_pair(
            rehearsal, engine, cores, max_batch=max_batch, trial=self.trial, open_engine=open_engine
        )
        cost = Cost() if paired is None else TwoCosts(paired.max_rows, NUM_SHARED)
        return SharedCoresRunner(engine, cost, cores, inline_s=inline_s, paired=paired), cost, paired


def _check_repeatable(folder: Path, graph: GraphFile) -> None:
    if draws_random_numbers(graph.graph):
        raise StartupError(
            f"{folder}: the graph draws random numbers (operators such as RandomNormal), so no answer can be "
            "repeated; export it without them, or with the numbers as an input"
        )


def _log_limits(examination: Examination, found: Measurement, provider: str) -> None:
    """Warn if the server must batch this graph less than its manifest and the settings allow."""
    manifest, folder = examination.manifest, examination.folder
    if manifest.lengths is not None and not found.ragged:
        logger.warning(
            "%s: rows of different lengths in a batch change the answer on %s; "
            "every batch will have rows of one length",
            folder,
            provider,
        )
    if found.max_rows < examination.most_rows:
        logger.warning(
            "%s: it is too slow to be tried with %d rows in a call; no call will have more than %d",
            folder,
            examination.most_rows,
            found.max_rows,
        )


def _log(prepared: PreparedModel, max_paired_rows: int) -> None:
    logger.info(
        "model %s version %s on %s, %s%s",
        prepared.binding.model,
        prepared.binding.version,
        prepared.engine.provider,
        "exact" if prepared.difference == 0 else f"max difference {prepared.difference:g}",
        f"; calls of up to {max_paired_rows} sequences on {NUM_SHARED} cores" if max_paired_rows else "",
    )
