"""The use case behind every face: sequences in, one answer per sequence out, sessions kept.

It knows models, sessions and the JSON codec's values; it knows nothing of HTTP or ONNX Runtime.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from service import codec
from service.codec import Document, Item
from service.errors import CellgateError, InvalidField, SessionNotSupported
from service.repository import Model, Repository
from service.sequence import Array, Sequence
from service.sessions import Opened, Sessions, session_key
from service.store import Record

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Reply:
    """An answer, and what the log says of it."""

    body: bytes
    model: str = ""
    version: str = ""
    sequences: int = 0
    steps: int = 0


class Predictor:
    """Answers the bodies of `POST /predict`."""

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
        self._max_sequences = max_sequences
        self._max_steps = max_steps
        self._timeout_s = timeout_s
        self._clock = clock  # the event loop's: deadlines are held against it

    async def predict(self, body: bytes, *, tenant: str = "") -> Reply:
        """Answer one request body. Raises a CellgateError when nothing of it could be answered."""
        document = codec.parse(body, max_sequences=self._max_sequences)
        request = _Request(self, document, tenant, self._clock() + self._timeout_s)
        if len(document.sequences) == 1:
            predictions = [await request.predict(0)]
        else:
            predictions = await request.predict_all()
        model = request.model
        return Reply(
            codec.encode_reply(model.name, model.version, predictions),
            model.name,
            model.version,
            len(predictions),
            request.steps,
        )


class _Request:
    """One request on its way: what its sequences have in common."""

    def __init__(self, predictor: Predictor, document: Document, tenant: str, deadline: float) -> None:
        self.repository = predictor.repository
        self.sessions = predictor.sessions
        self.max_steps = predictor._max_steps
        self.document = document
        self.tenant = tenant
        self.deadline = deadline
        self.model = predictor.repository.get(document.model, document.version)
        self.steps = 0

    async def predict_all(self) -> list[bytes]:
        """One entry per sequence; a sequence that fails takes none of the others with it."""
        return await asyncio.gather(
            *(self._predict_or_error(index) for index in range(len(self.document.sequences)))
        )

    async def _predict_or_error(self, index: int) -> bytes:
        try:
            return await self.predict(index)
        except CellgateError as error:
            return codec.encode_error(error)

    async def predict(self, index: int) -> bytes:
        """The encoded prediction for one sequence. Every error says which sequence it is about."""
        try:
            return await self._predict(index)
        except CellgateError as error:
            error.pointer = error.pointer or f"/sequences/{index}"
            raise

    async def _predict(self, index: int) -> bytes:
        item = self._decode(index, self.model)
        if item.session is not None:
            return await self._predict_in_session(index, item, item.session)
        sequence = self._sequence(self.model, item, self.model.zero)
        await self.model.worker.predict(sequence)
        self.steps += item.steps
        return codec.encode_prediction(self.model.manifest.outputs[0], sequence.output())

    async def _predict_in_session(self, index: int, item: Item, session: str) -> bytes:
        key = session_key(self.tenant, session)
        await self.sessions.take_turn(key)
        try:
            while True:
                record = await self.sessions.find(key)
                model = self._model_of(record)
                if model is not self.model:
                    item = self._decode(index, model)
                reply = await self._step(model, item, session, key, record)
                if reply is not None:
                    return reply
                logger.debug("another worker was first; running again from the session's new state")
        finally:
            self.sessions.give_turn(key)

    async def _step(
        self, model: Model, item: Item, session: str, key: bytes, record: Record | None
    ) -> bytes | None:
        """Open, run, commit. None when another worker committed first: then nothing of ours was applied."""
        digest = item.digest(self._keep_all(model))
        opened = self.sessions.open(key, record, model.binding, at=item.at, digest=digest)
        if opened.reply is not None:
            return opened.reply
        sequence = self._sequence(model, item, self._state(model, opened))
        await model.worker.predict(sequence)
        step = opened.step + item.steps
        reply = codec.encode_prediction(
            model.manifest.outputs[0], sequence.output(), session=session, step=step
        )
        is_ours = await self.sessions.commit(
            opened,
            model.binding,
            steps=item.steps,
            state=model.pack_state(sequence.state),
            digest=digest,
            reply=reply,
            end=item.end,
        )
        self.steps += item.steps if is_ours else 0
        return reply if is_ours else None

    def _model_of(self, record: Record | None) -> Model:
        """A session stays with its version; `open` refuses a request that insists on another."""
        if record is None or not record.is_live or self.document.version is not None:
            return self.model
        if record.model != self.model.name or record.version == self.model.version:
            return self.model
        return self.repository.get(record.model, record.version)

    def _decode(self, index: int, model: Model) -> Item:
        item = codec.decode_item(self.document, index, model.manifest, max_steps=self.max_steps)
        if item.session is not None and not model.manifest.chunkable:
            why = "has no state" if model.manifest.causal else "reads each sequence from both ends"
            raise SessionNotSupported(f"{model.name} {why}", pointer=f"/sequences/{index}/session")
        if self._keep_all(model) and model.manifest.outputs[0].steps == "last":
            raise InvalidField(f"{model.name} gives only the last step's output", pointer="/return")
        return item

    def _sequence(self, model: Model, item: Item, state: tuple[Array, ...]) -> Sequence:
        return Sequence(item.inputs, state, keep_all=self._keep_all(model), deadline=self.deadline)

    def _keep_all(self, model: Model) -> bool:
        return (self.document.returns or model.manifest.default_return) == "all"

    @staticmethod
    def _state(model: Model, opened: Opened) -> tuple[Array, ...]:
        return model.zero if opened.state is None else model.unpack_state(opened.state)
