"""The use case behind every face: sequences in, one answer per sequence out, sessions kept.

It knows models, sessions and decoded sequences; it knows nothing of HTTP or ONNX Runtime, and of JSON only
whom to ask.
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from service.codec import request as codec
from service.codec.request import Item
from service.errors import CellgateError, InvalidField, SessionMismatch, SessionNotSupported
from service.manifest import Manifest
from service.repository.model import Model
from service.repository.repository import Repository
from service.sequence import Array, Sequence, State
from service.sessions.rules import Opened, Sessions, session_key
from service.sessions.store import Record

logger = logging.getLogger(__name__)


@dataclass(slots=True)  # not frozen, for speed
class Reply:
    """An answer, and what the log says of it."""

    body: bytes
    model: str = ""
    version: str = ""
    sequences: int = 0
    steps: int = 0
    json_length: int | None = None  # of the JSON, where binary tensors follow it


class Encode(Protocol):
    """How a face writes one answer: these bytes are what a session stores for a retry."""

    def __call__(self, model: Model, output: Array, *, session: str | None, step: int | None) -> bytes:
        """`output` is [time, *dims] when every step was asked for, else [*dims]."""
        ...


@dataclass(slots=True)
class Request:
    """What a face understood of a request: the model, and how to read and write its sequences."""

    model: Model
    num_sequences: int
    decode: Callable[[int, Manifest], Item]  # asked again where a session is on another version
    encode: Encode
    returns: str | None = None  # "last", "all", or None: by task
    is_pinned: bool = False  # whether the request names the version, so that a session must be on it
    tenant: str = ""


class Predictor:
    """Answers requests, whichever face they came through."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        *,
        max_sequences: int,
        max_steps: int,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.repository = repository
        self.sessions = sessions
        self.max_sequences = max_sequences
        self.max_steps = max_steps
        self._timeout_s = timeout_s
        self._clock = clock  # the event loop's: deadlines are held against it

    async def predict(self, body: bytes, *, tenant: str = "") -> Reply:
        """Answer a body of `POST /predict`. Raises a CellgateError when nothing of it could be answered."""
        document = codec.parse(body, max_sequences=self.max_sequences)
        request = Request(
            self.repository.get(document.model, document.version),
            len(document.sequences),
            functools.partial(codec.decode_item, document, max_steps=self.max_steps),
            _encode_prediction,
            returns=document.returns,
            is_pinned=document.version is not None,
            tenant=tenant,
        )
        run = self.start(request)
        if request.num_sequences == 1:
            predictions = [await run.answer(0)]
        else:
            predictions = await run.answer_all()
        name = request.model.name
        reply = codec.encode_reply(name, run.version, predictions)
        return Reply(reply, name, run.version, len(predictions), run.steps)

    def start(self, request: Request, *, timeout_s: float = inf) -> "Run":
        """Begin to answer; the deadline counts from now. A client may ask for less time, not for more."""
        return Run(request, self.repository, self.sessions, self.deadline(timeout_s))

    def deadline(self, timeout_s: float = inf) -> float:
        """When a request that begins now must have been answered, on the event loop's clock."""
        return self._clock() + min(timeout_s, self._timeout_s)


def _encode_prediction(model: Model, output: Array, *, session: str | None, step: int | None) -> bytes:
    return codec.encode_prediction(model.manifest.outputs[0], output, session=session, step=step)


class Run:
    """One request on its way."""

    def __init__(self, request: Request, repository: Repository, sessions: Sessions, deadline: float) -> None:
        self.request = request
        self.repository = repository
        self.sessions = sessions
        self.deadline = deadline
        self.steps = 0  # computed so far, for the log
        self.version = request.model.version  # that answered; a session alone may be on an older one

    async def answer_all(self) -> list[bytes]:
        """One entry per sequence; one that fails takes none of the others with it: its entry is the error."""
        return await asyncio.gather(*(self._answer_or_error(i) for i in range(self.request.num_sequences)))

    async def compute_all(self) -> list[Sequence]:
        """Every sequence of a request without sessions, computed; or the first error, for all of it.

        For a face whose answer is one tensor. No task, and no encoding, per sequence.
        """
        model = self.request.model
        items = [self._decode(index, model) for index in range(self.request.num_sequences)]
        sequences = [self._sequence(model, item, model.initial_state) for item in items]
        await model.worker.predict(*sequences)
        self.steps += sum([item.steps for item in items])
        return sequences

    async def _answer_or_error(self, index: int) -> bytes:
        try:
            return await self.answer(index)
        except CellgateError as error:
            return codec.encode_error(error)

    async def answer(self, index: int) -> bytes:
        """The encoded answer to one sequence. Every error says which sequence it is about."""
        try:
            return await self._answer(index)
        except CellgateError as error:
            error.pointer = error.pointer or f"/sequences/{index}"
            raise

    async def _answer(self, index: int) -> bytes:
        model = self.request.model
        item = self._decode(index, model)
        if item.session is not None:
            return await self._answer_in_session(index, item, item.session)
        sequence = await self._compute(model, item, model.initial_state)
        self.steps += item.steps
        return self.request.encode(model, sequence.output(), session=None, step=None)

    async def _answer_in_session(self, index: int, item: Item, session: str) -> bytes:
        key = session_key(self.request.tenant, session)
        await self.sessions.take_turn(key, self.deadline)
        try:
            while True:
                record = await self.sessions.find(key)
                model = self._model_of(record, item)
                if model is not self.request.model:
                    item = self._decode(index, model)
                reply = await self._step(model, item, session, key, record)
                if reply is not None:
                    return reply
                logger.debug("another worker was first; running again from the session's new state")
        finally:
            self.sessions.release_turn(key)

    async def _step(
        self, model: Model, item: Item, session: str, key: bytes, record: Record | None
    ) -> bytes | None:
        """Open, run, commit. None when another worker committed first: then nothing of ours was applied."""
        digest = item.digest(self._keep_all(model))
        opened = self.sessions.open(
            key,
            record,
            model.binding,
            at=item.at,
            digest=digest,
            start=item.start,
            is_pinned=self.request.is_pinned,
        )
        if opened.reply is not None:
            self._answered(opened.version)
            return opened.reply
        state = self._state_of(model, opened)
        sequence = await self._compute(model, item, state)
        step = opened.step + item.steps
        reply = self.request.encode(model, sequence.output(), session=session, step=step)
        written = await self.sessions.commit(
            opened,
            model.binding,
            steps=item.steps,
            state=model.pack_state(sequence.state),
            digest=digest,
            reply=reply,
            end=item.end,
        )
        if written is None:
            return None
        self._answered(model.version)
        self.steps += item.steps
        if written.is_live:
            model.keep(key, written.revision, sequence.state)
        return reply

    def _answered(self, version: str) -> None:
        """Many sequences of a request can be on many versions; the answer then names that of a new one."""
        if self.request.num_sequences == 1:
            self.version = version

    def _state_of(self, model: Model, opened: Opened) -> State:
        """The initial state, or that of the session as it was committed last."""
        if opened.resumed is None:
            return model.initial_state
        return model.resume(opened.key, opened.resumed.revision, opened.resumed.state)

    async def _compute(self, model: Model, item: Item, state: State) -> Sequence:
        sequence = self._sequence(model, item, state)
        await model.worker.predict(sequence)
        return sequence

    def _sequence(self, model: Model, item: Item, state: State) -> Sequence:
        return Sequence(item.inputs, state, keep_all=self._keep_all(model), deadline=self.deadline)

    def _model_of(self, record: Record | None, item: Item) -> Model:
        """A session stays with its version; `open` refuses a request that insists on another."""
        model = self.request.model
        if record is None or not record.is_live or self.request.is_pinned:
            return model
        if item.start in ("new", "restart"):
            return model
        if record.model != model.name or record.version == model.version:
            return model
        try:
            return self.repository.get(record.model, record.version)
        except CellgateError as error:
            raise SessionMismatch(
                f"the session runs on {record.model} version {record.version}, which is not loaded",
                members={"model": record.model, "version": record.version},
            ) from error

    def _decode(self, index: int, model: Model) -> Item:
        item = self.request.decode(index, model.manifest)
        if item.session is not None and not model.manifest.chunkable:
            why = "has no state" if model.manifest.causal else "reads each sequence from both ends"
            raise SessionNotSupported(f"{model.name} {why}", pointer=f"/sequences/{index}/session")
        if self._keep_all(model) and model.manifest.outputs[0].steps == "last":
            raise InvalidField(f"{model.name} gives only the last step's output", pointer="/return")
        return item

    def _keep_all(self, model: Model) -> bool:
        return (self.request.returns or model.manifest.default_return) == "all"
