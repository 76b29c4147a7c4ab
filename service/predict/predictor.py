"""The use case behind every API: sequences in, one answer per sequence out, sessions committed.

It knows models, sessions and decoded sequences; it knows nothing of HTTP or ONNX Runtime, and calls `codec`
for all JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf

from service import trace
from service.codec import reply as replies
from service.codec import request as requests
from service.codec.request import Item
from service.errors import BadInput, CellgateError
from service.memory import MemoryBudget
from service.names import names_number
from service.predict.aside import LARGE_BODY, Aside, is_large
from service.predict.beginning import Beginnings
from service.predict.encode import encode_first, encode_named
from service.predict.inside import add_inside
from service.predict.kept import opening_state
from service.predict.reply_budget import ReplyBudget
from service.predict.request import (
    Decode,
    Decoded,
    Reply,
    Request,
    first_output,
    outputs_named,
)
from service.predict.session_run import Answer, SessionRuns
from service.predict.shadow import Shadows
from service.predict.state_run import StateRun
from service.repository import Model, Repository
from service.sequence import Origin, Sequence
from service.sessions import Sessions, StateTokens
from service.stages import Stages

Respond = Callable[[Request], Awaitable[Reply]]

STARTED_AT_ONCE = 128  # sequences of one request, before the event loop answers others


class Predictor:
    """Answers requests of every API."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        *,
        max_sequences: int,
        max_steps: int,
        timeout_s: float,
        clock: Callable[[], float],
        max_reply_bytes: int = 64 << 20,
        memory: MemoryBudget | None = None,
        aside: Aside | None = None,
        shadows: Shadows | None = None,
        tokens: StateTokens | None = None,
    ) -> None:
        """`memory`: what replies are counted in, if given. `shadows`: None: no version is a shadow.

        `tokens`: None: state tokens are not signed.
        `aside`: reads and writes what is large; None: one of its own, which is never stopped.
        """
        self.repository = repository
        self.max_sequences = max_sequences
        self.max_steps = max_steps
        self.max_reply_bytes = max_reply_bytes
        self.memory = memory or MemoryBudget(1 << 62)
        self.aside = aside or Aside()
        self.tokens = tokens or StateTokens()
        self.beginnings = Beginnings(repository, self.tokens, self.aside)
        self.session_runs = SessionRuns(repository, sessions, self.aside, shadows, self.beginnings)
        self._timeout_s = timeout_s
        self._clock = clock  # the event loop's: deadlines are compared with it

    async def predict(
        self, body: bytes, *, tenant: str = "", is_keyed: bool = False, respond: Respond | None = None
    ) -> Reply:
        """Answer a body of `POST /predict`; `is_keyed`: with an Idempotency-Key.

        `respond`: answers the request once it is read; None: with one reply, when all is computed.
        Raises a CellgateError if there is no answer to any sequence.
        """
        stages = Stages()
        if len(body) > LARGE_BODY:
            document, model, decode = await self._read_large(body)
        else:
            document = requests.parse(body, max_sequences=self.max_sequences)
            model = self.repository.get(document.model, document.version)
            decode = partial(requests.decode_item, document, max_steps=self.max_steps)
        if document.returns_state:
            self.tokens.check_usable("/return_state")
        request = Request(
            model,
            len(document.sequences),
            decode,
            encode_first if not document.outputs else partial(encode_named, document.outputs),
            returns=document.returns,
            is_pinned=names_number(document.version),
            is_free=document.version is None,
            is_keyed=is_keyed,
            tenant=tenant,
            outputs=first_output if not document.outputs else partial(outputs_named, document.outputs),
            read_begin=partial(requests.read_begin, document),
            returns_state=document.returns_state,
            reply_budget=self.reply_budget,
            body_bytes=len(body),
            stages=stages,
        )
        if document.returned is not None:
            add_inside(request, document.returned)
        try:
            if respond is not None:
                return await respond(request)
            run = self.start(request)
            if request.num_sequences == 1:
                predictions = [await run.answer(0)]
            else:
                predictions = await run.answer_all()
            name = request.model.name
            reply = replies.encode_reply(name, run.version, predictions)
        finally:
            request.close()
        stages.encoded()
        return Reply(reply, name, run.version, len(predictions), run.steps, step=run.step, stages=stages)

    async def _read_large(self, body: bytes) -> tuple[requests.Document, Model, Decode]:
        """The document, the model that it names, and its sequences, read in a thread."""
        parse = partial(requests.parse, body, max_sequences=self.max_sequences)
        document = await self.aside.run(parse, len(body))
        model = self.repository.get(document.model, document.version)
        if document.returns_state:
            self.tokens.check_usable("/return_state")  # before its sequences are read
        decode = partial(requests.decode_item, document, max_steps=self.max_steps)
        read = partial(Decoded, decode, len(document.sequences), model.manifest)
        return document, model, await self.aside.run(read, len(body))

    def reply_budget(self, body_bytes: int) -> ReplyBudget:
        """What the reply to a request whose body has `body_bytes` may take."""
        return ReplyBudget(self.max_reply_bytes, self.memory, body_bytes)

    def start(self, request: Request, *, timeout_s: float = inf) -> "Run":
        """Begin to answer. The deadline counts from now; a client may set a shorter one, not a longer one."""
        deadline = self._clock() + min(timeout_s, self._timeout_s)
        origin = Origin(request.tenant, deadline, request.num_sequences, trace.current.get())
        return Run(request, origin, self)


class Run:
    """One request while it is answered."""

    def __init__(self, request: Request, origin: Origin, predictor: Predictor) -> None:
        self.origin = origin  # its deadline is on the event loop's clock
        self.steps = 0  # computed so far, for the access log
        self.step: int | None = None  # of the session after it, of a request with one sequence
        self.version = request.model.version  # that answered; a session may be on an older one
        self._request = request
        self._predictor = predictor

    async def answer_all(self) -> list[bytes]:
        """One entry per sequence. A sequence that fails does not fail the others: its entry is the error."""
        loop = asyncio.get_running_loop()
        self._request.stages.decoded()
        tasks: list[asyncio.Task[bytes]] = []
        try:
            for index in range(self._request.num_sequences):
                if index and index % STARTED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                tasks.append(loop.create_task(self._answer_or_error(index)))
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    def answer_only(self) -> Awaitable[bytes]:
        """`answer`, for an API whose requests have one sequence: no error points at it by its number."""
        return self.answer(0, is_numbered=False)

    async def answer(self, index: int, stages: Stages | None = None, *, is_numbered: bool = True) -> bytes:
        """The encoded answer to one sequence. Every error points at the sequence, or at a value in it.

        `stages`: of the sequence; None: those of the request, which has no others.
        """
        request, model, predictor = self._request, self._request.model, self._predictor
        stages = stages or request.stages
        try:
            item, read_for = await self._item(index)
            stages.decoded()
            if item.session is not None:
                runs = predictor.session_runs
                return self._note(await runs.answer(request, self.origin, index, item, read_for, stages))
            if item.state is not None or request.returns_state:
                run = StateRun(request, self.origin, predictor.aside, predictor.beginnings)
                return self._note(await run.answer(index, item, read_for, stages))
            sequence = await request.compute(
                model, item, opening_state(model, item), keep_all=request.keeps_all(model), origin=self.origin
            )
            stages.computed(sequence.run_s)
            self.steps += sequence.steps
            if is_large(sequence):
                encode = partial(request.encode, model, sequence, session=None, step=None)
                return await predictor.aside.run(encode)
            return request.encode(model, sequence, session=None, step=None)
        except CellgateError as error:
            error.model = model.name, self.version
            if is_numbered:
                error.pointer = error.pointer or f"/sequences/{index}"
            raise

    async def _item(self, index: int) -> tuple[Item, Model]:
        """The sequence, and the model that it was read for: the version that it is on, or the request's."""
        request = self._request
        try:
            return request.decode_for(request.model, index), request.model
        except BadInput as error:
            try:
                other = await self._predictor.session_runs.other_model(request, index)
            except BadInput:
                other = None  # the first error is the one to report
            if other is None:
                raise error from None
            return request.decode_for(other, index), other

    def _note(self, answer: Answer) -> bytes:
        """Count an answer whose steps continue others."""
        self.steps += answer.steps
        # The sequences of a request may be on many versions; the reply then names a new session's.
        if self._request.num_sequences == 1:
            self.version, self.step = answer.version, answer.step
        return answer.body

    async def compute_all(self) -> list[Sequence]:
        """The computed sequences of a request without sessions. The first error fails the whole request.

        For an API whose reply is one tensor: there is no task, and no encoding, per sequence.
        """
        request, model = self._request, self._request.model
        keep_all = request.keeps_all(model)
        try:
            items = [request.decode_for(model, index) for index in range(request.num_sequences)]
            sequences = [
                Sequence(
                    item.inputs,
                    opening_state(model, item),
                    keep_all=keep_all,
                    extra=item.extra,
                    origin=self.origin,
                )
                for item in items
            ]
            request.stages.decoded()
            await model.worker.predict(*sequences)
        except CellgateError as error:
            error.model = model.name, model.version
            raise
        request.stages.computed(max([sequence.run_s for sequence in sequences], default=0.0))
        self.steps += sum([sequence.steps for sequence in sequences])
        return sequences

    async def _answer_or_error(self, index: int) -> bytes:
        stages = Stages()
        try:
            body = await self.answer(index, stages)
            stages.encoded()
            return body
        except CellgateError as error:
            stages.queued()  # as it was, if the error took long: past its deadline
            return replies.encode_error(error)
        finally:
            self._request.stages.merge(stages)
