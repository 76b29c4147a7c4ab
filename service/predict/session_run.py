"""One sequence of a request that continues a session: its turn, its state, and the commit before the reply.

    turn ─ find ─ open ──→ compute ──→ encode ──→ commit ──→ answer
             ↑      └──→ the stored reply: this is the last request again
             └────────────────────── another worker committed first

It knows the session rules and the models; it knows nothing of HTTP or JSON.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from service.codec.reply import add_state
from service.codec.request import Item
from service.errors import ModelLoading, NotFound, SessionMismatch
from service.predict.aside import Aside, is_large
from service.predict.beginning import Beginning, Beginnings
from service.predict.kept import state_of
from service.predict.pieces import compute_each_step, compute_pieces
from service.predict.request import Request, compute_steps
from service.predict.shadow import Committed, Shadows
from service.repository import Model, Repository
from service.sequence import Origin, State
from service.sequence import Sequence as ComputedSequence
from service.sessions import Checkpoint, History, Opened, Record, Sessions, session_key
from service.stages import Stages

NO_CHECKPOINTS: Sequence[Checkpoint] = ()

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """The encoded answer to one sequence."""

    body: bytes
    version: str  # of the model that answered
    steps: int  # computed now: 0 for a stored reply
    step: int  # of the session, after them


class SessionRuns:
    """Runs sequences that belong to sessions."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        aside: Aside,
        shadows: Shadows | None,
        beginnings: Beginnings,
    ) -> None:
        self._repository = repository
        self._sessions = sessions
        self._aside = aside
        self._shadows = shadows
        self._beginnings = beginnings

    async def answer(
        self, request: Request, origin: Origin, index: int, item: Item, read_for: Model, stages: Stages
    ) -> Answer:
        """Run a sequence in its session, again and again until no other worker commits first.

        `read_for`: the version that the item was read for. It is read again for another.
        """
        session = item.session
        assert session is not None
        key = session_key(request.tenant, session)
        given, turns = item.state, self._sessions.turns
        beginning = None if given is None else await self._beginnings.find(request.tenant, given)
        if not turns.take_free(key):  # mostly it is: no coroutine then
            await turns.take(key, origin.deadline)
            stages.queued()
        try:
            while True:
                record = await self._sessions.find(key)
                stages.committed()
                model = self._model_of(request, record, item.start, session, beginning)
                if model is not read_for:
                    item, read_for = request.decode_for(model, index), model
                answer = await self._step(
                    request, origin, model, index, item, session, key, record, stages, beginning
                )
                if answer is not None:
                    return answer
                logger.debug("another worker committed first; running again from the session's new state")
        finally:
            turns.release(key)

    async def other_model(self, request: Request, index: int) -> Model | None:
        """The version, other than the request's, that a sequence continues on; None: there is none.

        For a sequence that is none for the request's own. Raises what finding the version does.
        """
        session, given = request.read_begin(index)
        if session is None and given is None:
            return None
        beginning = None if given is None else await self._beginnings.find(request.tenant, given)
        if session is not None:
            record = await self._sessions.find(session_key(request.tenant, session))
            start = "auto" if given is None else "given"
            model = self._model_of(request, record, start, session, beginning)
        elif beginning is not None:
            model = self._beginnings.model_of(beginning, request.model, is_pinned=request.is_pinned)
        return None if model is request.model else model

    async def _step(
        self,
        request: Request,
        origin: Origin,
        model: Model,
        index: int,
        item: Item,
        session: str,
        key: bytes,
        record: Record | None,
        stages: Stages,
        beginning: Beginning | None,
    ) -> Answer | None:
        """Open, compute, commit. None if another worker committed first: then nothing was applied."""
        keep_all = request.keeps_all(model)
        digest = request.digest(item, keep_all)
        opened = self._open(request, model, item, key, record, digest, beginning)
        if opened.reply is not None:
            return Answer(opened.reply, opened.version, 0, opened.replied_step)
        state = state_of(model, item, opened) if beginning is None else beginning.state(model, item)
        stages.decoded()
        history = opened.history
        if history is None:
            passed = NO_CHECKPOINTS
            sequence = await request.compute(model, item, state, keep_all=keep_all, origin=origin)
        else:
            sequence, passed = await self._compute(request, origin, model, item, state, history, opened.step)
        stages.computed(sequence.run_s)
        packed, steps = model.pack_state(sequence.state), len(sequence.inputs[0])
        step = opened.step + steps
        if is_large(sequence):
            encode = partial(self._encode, request, model, sequence, packed, session, step)
            reply = await self._aside.run(encode)
        else:
            reply = self._encode(request, model, sequence, packed, session, step)
        stages.encoded()
        written = await self._sessions.commit(
            opened, model.binding, steps, packed, digest, reply, end=item.end, passed=passed
        )
        stages.committed()
        if written is None:
            return None
        if written.is_live:
            model.keep(key, written.revision, sequence.state)
        if self._shadows is not None and beginning is None and self._repository.has_shadows:
            self._shadows.offer(Committed(model, request, index, item, sequence, opened, written))
        return Answer(reply, model.version, steps, step)

    async def _compute(
        self,
        request: Request,
        origin: Origin,
        model: Model,
        item: Item,
        state: State,
        history: History,
        step: int,
    ) -> tuple[ComputedSequence, Sequence[Checkpoint]]:
        """The computed sequence, and the states within it, from `step` on, that the history keeps."""
        keep_all = request.keeps_all(model)
        if request.compute in (compute_steps, compute_each_step):
            each_step = keep_all and request.compute is compute_each_step
            return await compute_pieces(
                model, item, state, history, step, keep_all=keep_all, origin=origin, each_step=each_step
            )
        sequence = await request.compute(model, item, state, keep_all=keep_all, origin=origin)
        return sequence, request.passed

    def _encode(
        self,
        request: Request,
        model: Model,
        sequence: ComputedSequence,
        packed: bytes,
        session: str,
        step: int,
    ) -> bytes:
        reply = request.encode(model, sequence, session=session, step=step)
        if request.returns_state:
            reply = add_state(reply, self._beginnings.write(request.tenant, model, step, packed))
        return reply

    def _open(
        self,
        request: Request,
        model: Model,
        item: Item,
        key: bytes,
        record: Record | None,
        digest: bytes,
        beginning: Beginning | None,
    ) -> Opened:
        opened = self._sessions.open(
            key,
            record,
            model.binding,
            at=item.at,
            digest=digest,
            start=item.start,
            is_pinned=request.is_pinned,
            begin=0 if beginning is None else beginning.step,
            rewinds=item.rewinds,
        )
        if request.on_open is not None:
            request.on_open(opened)
        return opened

    def _model_of(
        self,
        request: Request,
        record: Record | None,
        start: str,
        session: str,
        beginning: Beginning | None,
    ) -> Model:
        """A session stays with its version; `open` refuses a request that names another."""
        model = request.model
        if beginning is not None and beginning.token is not None:
            return self._beginnings.model_of(beginning, model, is_pinned=request.is_pinned)
        if request.is_pinned:
            return model
        if record is None or not record.is_live or start in ("new", "restart", "given"):
            if request.is_free:
                return self._repository.get_for_session(model, request.tenant, session)
            return model
        return model_of_session(self._repository, model, record)


def model_of_session(repository: Repository, model: Model, record: Record) -> Model:
    """The version that a live session of `model` is on. Raises ModelLoading or SessionMismatch."""
    if record.model != model.name or record.version == model.version:
        return model
    return find_model(repository, record)


def find_model(repository: Repository, record: Record) -> Model:
    """The version that a session runs on. Raises SessionMismatch, or ModelLoading if it is not loaded yet."""
    try:
        return repository.get(record.model, record.version)
    except NotFound as error:
        if repository.is_ahead(record.model, record.version):
            raise ModelLoading(
                f"the session runs on {record.model} version {record.version}, which is not loaded yet"
            ) from error
        raise SessionMismatch(
            f"the session runs on {record.model} version {record.version}, which is not loaded",
            members={"model": record.model, "version": record.version},
        ) from error
