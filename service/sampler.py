"""Sets the metrics that are not counted where they happen: gauges, and counts that parts keep for themselves.

sample   every SAMPLE_EVERY_S: what is in memory; and it flushes the histograms
look     every LOOK_EVERY_S: what costs a call of the store or of the system
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from weakref import WeakKeyDictionary

from service.engine import Scheduler
from service.errors import CellgateError
from service.http import Gate, Readiness
from service.logs import AccessLog, num_dropped
from service.memory import MemoryBudget, resident_bytes
from service.metrics import Counter, Gauge, Metrics, Turns
from service.repository import Model, Repository
from service.sessions import Sessions

SAMPLE_EVERY_S = 0.5
LOOK_EVERY_S = 5.0

Labels = tuple[str, ...]


class Growing:
    """Copies a number that only grows into a counter, which may have counted before this process began."""

    def __init__(self, counter: Counter, value: float = 0.0) -> None:
        self._counter, self._value = counter, value

    def set(self, value: float) -> float:
        """The number is `value` now; by how much it has grown."""
        growth, self._value = value - self._value, value
        self._counter.add(growth)
        return growth


class Sampler:
    """Reads the parts of one worker."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        repository: Repository,
        sessions: Sessions,
        readiness: Readiness,
        budget: MemoryBudget,
        turns: Turns,
        num_policy_faults: Callable[[], int],
    ) -> None:
        self.metrics = metrics
        self._repository = repository
        self._sessions = sessions
        self._readiness = readiness
        self._gate: Gate | None = None
        self._access_log: AccessLog | None = None
        self._budget = budget
        self._turns = turns
        self._num_policy_faults = num_policy_faults
        self._steps: WeakKeyDictionary[Scheduler, tuple[Growing, Growing, Gauge]] = WeakKeyDictionary()
        self._shown: dict[Labels, Model] = {}  # by the labels of `model_info`
        self._stalls = Growing(metrics.loop_stalls.labels())
        self._dropped = Growing(metrics.log_lines_dropped.labels())
        self._evicted = Growing(metrics.session_events.labels("evicted"))
        self._cpu = Growing(metrics.cpu_seconds.labels())
        self._of_streams = [
            Growing(metrics.stream_frames.labels()),
            *(Growing(metrics.stream_bytes.labels(direction)) for direction in ("read", "written")),
        ]
        metrics.workers.labels().set(1)
        metrics.build_info.labels(version("cellgate"), version("onnxruntime"), platform.python_version()).set(
            1
        )
        metrics.request_memory_limit.labels().set(budget.max_bytes)

    def watch(self, gate: Gate, access_log: AccessLog | None) -> None:
        """Also count what the gate does, from now on."""
        self._gate, self._access_log = gate, access_log

    async def sample(self) -> None:
        """Set what is in memory, and flush the histograms."""
        metrics, now = self.metrics, time.time()
        self._stalls.set(self._turns.num_long)
        self._dropped.set(num_dropped() + (self._access_log.num_dropped if self._access_log else 0))
        self._evicted.set(self._sessions.store.num_evicted)
        self._cpu.set(time.process_time())
        if self._gate is not None:
            metrics.connections.labels().set(self._gate.num_connections)
            metrics.requests_running.labels().set(self._gate.num_running)
            metrics.streams.labels().set(self._gate.num_streams)
            self._count_streams(self._gate)
        metrics.policy_faults.labels().set(self._num_policy_faults())
        metrics.request_memory.labels().set(self._budget.used)
        self._show_models()
        for model in self._shown.values():
            scheduler = model.worker.scheduler
            metrics.queue_sequences.labels(model.name, model.version).set(len(scheduler))
            metrics.queue_seconds.labels(model.name, model.version).set(scheduler.wait_s)
        for scheduler, (steps, padded_steps, last_call) in self._steps.items():
            if steps.set(scheduler.counts.steps):
                last_call.set(now)
            padded_steps.set(scheduler.counts.padded_steps)
        metrics.registry.flush()

    def _count_streams(self, gate: Gate) -> None:
        if gate.streams is not None:
            for growing, total in zip(self._of_streams, gate.streams.totals, strict=True):
                growing.set(total)

    async def look(self) -> None:
        """Set what the store and the system know. Raises StoreUnavailable: then the values are the last."""
        metrics = self.metrics
        metrics.resident_bytes.labels().set(resident_bytes())
        metrics.open_files.labels().set(len(os.listdir("/proc/self/fd")))
        try:
            await self._readiness.check()
        except CellgateError:
            metrics.ready.labels().set(0)
            return
        metrics.ready.labels().set(1)
        usage = await self._sessions.store.usage()
        metrics.sessions.labels().set(usage.records)
        metrics.session_bytes.labels().set(usage.num_bytes)

    def _show_models(self) -> None:
        """`model_info` of what is loaded now; that of what is not any more becomes 0."""
        repository = self._repository
        loaded = {_labels(model, is_retired=repository.is_retired(model)): model for model in repository}
        for labels in self._shown.keys() - loaded.keys():
            self.metrics.model_info.labels(*labels).set(0)
        for name, version_ in {labels[:2] for labels in self._shown} - {labels[:2] for labels in loaded}:
            self.metrics.queue_sequences.labels(name, version_).set(0)
            self.metrics.queue_seconds.labels(name, version_).set(0)
        for labels, model in loaded.items():
            if labels not in self._shown:
                self.metrics.model_info.labels(*labels).set(1)
            if model.worker.scheduler not in self._steps:
                self._count_steps(model)
        self._shown = loaded

    def _count_steps(self, model: Model) -> None:
        """Also those that a version computes after it was replaced, until its scheduler is freed."""
        labels, metrics = (model.name, model.version), self.metrics
        self._steps[model.worker.scheduler] = (
            Growing(metrics.steps.labels(*labels)),
            Growing(metrics.padded_steps.labels(*labels)),
            metrics.last_call.labels(*labels),
        )


def _labels(model: Model, *, is_retired: bool) -> Labels:
    status = "retired" if is_retired else "served"
    return model.name, model.version, model.binding.graph.hex(), model.provider, status
