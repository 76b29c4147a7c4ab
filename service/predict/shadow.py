"""A shadow version computes each session a second time, beside its own version, and the answers are compared.

    request ─ computed ─ committed ─→ reply
                              └─→ queue ─→ the fork's state ─ computed by the shadow ─ compared, stored

A client's request is never delayed or failed by it: what finds the queue full is dropped and counted. The
fork's state is stored under a key that no client can name, and expires as its session does.
"""

import asyncio
import logging
from dataclasses import dataclass
from itertools import chain

import numpy as np

from service.codec.request import Item
from service.errors import CellgateError
from service.metrics import Metrics, ShadowCounts
from service.predict.kept import opening_state
from service.predict.request import Request
from service.predict.timed import with_times
from service.repository import Model, Repository
from service.sequence import Array, Origin, Sequence, State
from service.sessions import History, Opened, Record, Sessions, shadow_key

MAX_WAITING = 64
MAX_BYTES = 16 << 20  # of the arrays that wait

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Committed:
    """A request of a session that has been computed and committed."""

    model: Model
    request: Request
    index: int  # of the sequence in the request
    item: Item
    sequence: Sequence
    opened: Opened  # the session before
    written: Record  # and after

    @property
    def num_bytes(self) -> int:
        """Of the arrays that it keeps in memory."""
        sequence = self.sequence
        held = (*sequence.inputs, *sequence.outputs, *chain(*sequence.extras, *sequence.states))
        return sum([np.asarray(array).nbytes for array in held])


class Shadows:
    """Runs the shadows of all models in this worker, one request after the other."""

    def __init__(self, repository: Repository, sessions: Sessions, metrics: Metrics) -> None:
        self._repository = repository
        self._sessions = sessions
        self._metrics = metrics
        self._waiting: asyncio.Queue[Committed] = asyncio.Queue(MAX_WAITING)
        self._bytes = 0  # that wait
        self._counts: dict[tuple[str, str, str], ShadowCounts] = {}
        self._origin = Origin("\1shadow")  # their share of the queue is that of one tenant

    def offer(self, committed: Committed) -> None:
        """Run a request on the shadow later, if its model has one and there is room."""
        model = committed.model
        shadow = self._repository.choice(model.name).shadow
        if shadow is None or shadow == model.version:
            return
        size = committed.num_bytes
        if self._waiting.full() or self._bytes + size > MAX_BYTES:
            self._counts_of(model, shadow).dropped.add()
            return
        self._bytes += size
        self._waiting.put_nowait(committed)

    async def run(self) -> None:
        """Work through the queue, until cancelled."""
        while True:
            committed = await self._waiting.get()
            try:
                await self._follow(committed)
            finally:
                self._bytes -= committed.num_bytes
                self._waiting.task_done()

    async def join(self) -> None:
        """Wait until nothing waits."""
        await self._waiting.join()

    async def _follow(self, committed: Committed) -> None:
        model = committed.model
        shadow = self._repository.choice(model.name).shadow
        if shadow is None or shadow == model.version:
            return  # the policy has changed meanwhile
        counts = self._counts_of(model, shadow)
        try:
            await self._step(committed, self._repository.get(model.name, shadow), counts)
        except CellgateError as error:
            counts.failures.add()
            logger.debug("shadow %s of %s version %s: %s", shadow, model.name, model.version, error)
        except Exception:
            counts.failures.add()
            logger.exception("shadow %s of %s version %s failed", shadow, model.name, model.version)

    async def _step(self, committed: Committed, shadow: Model, counts: ShadowCounts) -> None:
        """Compute the request on the fork, compare, and store the fork's new state."""
        sessions, ours, written = self._sessions, committed.sequence, committed.written
        key = shadow_key(committed.opened.key)
        record = await sessions.find(key)
        state = _state_of(committed, shadow, record, counts)
        if state is None:
            counts.dropped.add()
            return
        theirs = Sequence(
            _inputs_of(committed, shadow, state), state, keep_all=ours.keep_all, origin=self._origin
        )
        await shadow.worker.predict(theirs)
        if not committed.request.draws:
            _compare(ours, theirs, shadow, counts)
        new = None
        if written.is_live:
            new = sessions.new_record(
                shadow.binding,
                state=shadow.pack_state(theirs.state),
                step=committed.opened.step + theirs.steps,
                ttl_ms=written.ttl_ms,
            )
            new.created_ms = written.created_ms
            new.history = History(rewinds=written.rewinds) if written.rewinds else None
        if (new or record) and not await sessions.put(key, record, new):
            counts.dropped.add()  # another worker was first

    def _counts_of(self, model: Model, shadow: str) -> ShadowCounts:
        key = (model.name, model.version, shadow)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = ShadowCounts(self._metrics, *key)
        return counts


def _state_of(
    committed: Committed, shadow: Model, record: Record | None, counts: ShadowCounts
) -> State | None:
    """The fork's state before the request; None if it has missed steps and cannot be forked again.

    A fork that is ahead belongs to a request that another worker has computed since.
    """
    opened, written = committed.opened, committed.written
    if record is not None and record.is_live and _is_fork(record, shadow, written):
        if record.step == opened.step:
            shadow.layout.check_size(record.state)
            return shadow.layout.unpack(record.state)
        if record.step > opened.step:
            return None
    if opened.resumed is None:
        return opening_state(shadow, committed.item)
    if shadow.layout.tensors != committed.model.layout.tensors:
        return None
    counts.forked.add()
    return shadow.layout.unpack(opened.resumed.state)


def _is_fork(record: Record, shadow: Model, session: Record) -> bool:
    """Whether a record is the fork of this session, and not of an older one of its name."""
    binding = shadow.binding
    is_of_shadow = (record.model, record.version, record.graph) == (
        binding.model,
        binding.version,
        binding.graph,
    )
    is_of_session = record.created_ms == session.created_ms and record.rewinds == session.rewinds
    return is_of_shadow and is_of_session


def _inputs_of(committed: Committed, shadow: Model, state: State) -> tuple[Array, ...]:
    """The steps, decoded anew if the shadow's inputs are others."""
    manifest, other = shadow.manifest, committed.model.manifest
    if (manifest.inputs, manifest.table) == (other.inputs, other.table):
        return committed.sequence.inputs
    return with_times(shadow, committed.request.decode(committed.index, manifest), state).inputs


def _compare(ours: Sequence, theirs: Sequence, shadow: Model, counts: ShadowCounts) -> None:
    one, other = ours.output().astype(np.float64), theirs.output().astype(np.float64)
    if one.shape != other.shape:
        counts.failures.add()
        return
    label_changes = 0
    if shadow.manifest.outputs[0].kind in ("probabilities", "logits") and one.ndim:
        label_changes = int(np.sum(one.argmax(-1) != other.argmax(-1)))
    elif shadow.manifest.outputs[0].kind == "labels":
        thresholds = shadow.manifest.outputs[0].label_thresholds
        label_changes = int(np.sum(((one >= thresholds) != (other >= thresholds)).any(-1)))
    counts.add(ours.steps, np.abs(one - other), label_changes)
