"""`/predict` and `/generate` answered in events: steps chunk by chunk, a text token by token, then the end.

    event ─ event ─ … ─ last event ─ commit ─ end
    └──── nothing is committed ───┘           └ the reply to `return: last`, or the whole text

A session moves once, as for any request: when all is computed, before the event `end`. Until then it is as it
was, so a client that comes back gets the further events of the same computation, made again; afterwards they
are read from the stored reply. It knows nothing of HTTP or of how events are written.
"""

from functools import partial
from itertools import pairwise

import orjson

from service.codec import reply as replies
from service.codec.events import END, EventId, content_of, encode_tokens, read_stored
from service.codec.generation import Generation
from service.codec.request import Item
from service.codec.returned import Returned
from service.codec.text import TextPieces
from service.errors import InvalidField, NotFound
from service.manifest import InputSpec, Manifest
from service.predict.aside import LARGE_BODY, LARGE_OUTPUT, Aside
from service.predict.generate import Generator, compute_tokens
from service.predict.pieces import cuts_of, joined
from service.predict.predictor import Predictor, Run
from service.predict.progress import Emit, Event, Progress
from service.predict.reply_budget import ReplyBudget
from service.predict.request import Reply, Request, first_output
from service.predict.timed import with_times
from service.repository import Model
from service.sequence import Origin, Sequence, State
from service.sessions import Checkpoint, History, Opened


class PredictionEvents:
    """One request of `/predict`, with `return: all`."""

    def __init__(self, predictor: Predictor, emit: Emit, resumed: EventId | None) -> None:
        """`resumed`: the last event that the client has; None: it has none."""
        self._predictor = predictor
        self._emit = emit
        self._resumed = resumed
        self._item: Item | None = None

    async def answer(self, body: bytes, *, tenant: str = "") -> Reply:
        """Emit the events; the returned reply has no body. Raises a CellgateError."""
        return await self._predictor.predict(body, tenant=tenant, respond=self._respond)

    async def _respond(self, request: Request) -> Reply:
        if request.num_sequences != 1:
            raise InvalidField(
                f"events are sent of one sequence, got {request.num_sequences}", pointer="/sequences"
            )
        if not request.keeps_all(request.model):
            raise InvalidField(
                'events are sent with "return": "all"; a reply with the last step has no pieces',
                pointer="/return",
            )
        if (returned := request.returned) is not None:
            _check_pieces(returned)
        progress = Progress(self._emit, "steps", self._resumed, request.stages)
        decode = request.decode

        def place(index: int, manifest: Manifest) -> Item:
            self._item = progress.place(decode(index, manifest))
            return self._item

        pieces = _Pieces(request, progress, self._predictor.aside)
        request.decode, request.compute, request.on_open = place, pieces.compute, pieces.open
        run = self._predictor.start(request)
        body, item = await run.answer(0), self._item
        assert item is not None
        if item.session is not None:
            if not run.steps:
                await self._replay(pieces, run, body, item)
            last = pieces.encode_last(item.session, run.step)
            body = replies.add_state(last, replies.state_of(body)) if request.returns_state else last
        name = request.model.name
        await self._emit(Event(END, END, replies.encode_reply(name, run.version, [body])))
        return Reply(b"", name, run.version, 1, run.steps, step=run.step, stages=request.stages)

    async def _replay(self, pieces: "_Pieces", run: Run, body: bytes, item: Item) -> None:
        """Send the stored reply's rows that the client lacks."""
        try:
            model = self._predictor.repository.get(pieces.request.model.name, run.version)
        except NotFound:  # not loaded any more: an ended session
            model = pieces.request.model
        await pieces.replay(model, item, body, run.origin)


class _Pieces:
    """The outputs of one sequence: each chunk is sent before the next is computed."""

    def __init__(self, request: Request, progress: Progress, aside: Aside) -> None:
        self.request = request
        self.progress = progress
        self._aside = aside
        self._model = request.model
        self._history: History | None = None
        self._last: Sequence | None = None
        self._step: int | None = None  # of the session after a stored reply, which may be one of several

    def open(self, opened: Opened) -> None:
        """The session that the sequence runs in. Raises SessionConflict."""
        self.progress.open(opened)
        self._history = opened.history

    async def compute(
        self, model: Model, item: Item, state: State, *, keep_all: bool, origin: Origin
    ) -> Sequence:
        """Implements `Compute`. In a session the sequence has all outputs, else those of the last step."""
        self._model = model
        self.progress.begin(self.request.digest(item, keep_all), most=item.steps)
        item = with_times(model, item, state)
        kept = [] if self._history is None else cuts_of(model, item, self._history, self.progress.at or 0)
        ends = {*range(0, item.steps, model.worker.scheduler.chunk_steps), *kept, item.steps}
        chunks: list[Sequence] = []
        checkpoints: list[Checkpoint] = []
        run_s = 0.0
        for start, stop in pairwise(sorted(ends)):
            chunk = Sequence(
                tuple([each[start:stop] for each in item.inputs]),
                state,
                keep_all=True,
                extra=item.extra,
                origin=origin,
            )
            await model.worker.predict(chunk)
            state = chunk.state
            run_s += chunk.run_s
            if item.session is None:
                chunks.clear()
            chunks.append(chunk)
            if stop in kept:
                checkpoints.append(Checkpoint((self.progress.at or 0) + stop, model.pack_state(state)))
            await self._send(chunk, start, stop, origin)
        self._last = _last_of(chunks[-1], item)
        self._last.run_s = run_s
        self.request.passed = tuple(checkpoints)
        return self._last if item.session is None else joined(model, item, chunks)

    async def replay(self, model: Model, item: Item, body: bytes, origin: Origin) -> None:
        """Send a stored prediction."""
        self._model = model
        indexes = self.request.outputs(model.manifest)
        read = partial(read_stored, body, model.manifest, model.output_dtypes, indexes, item.steps)
        stored, self._step = await self._aside.run(read) if len(body) > LARGE_BODY else read()
        self.progress.begin(self.request.digest(item, True), most=item.steps)
        await self._send(stored, 0, item.steps, origin)
        self._last = _last_of(stored, item)

    def encode_last(self, session: str, step: int | None) -> bytes:
        """The prediction as with `return: last`; `step`: of the session, unless an older reply was read."""
        assert self._last is not None
        step = step if self._step is None else self._step
        return self.request.encode(self._model, self._last, session=session, step=step)

    async def _send(self, chunk: Sequence, first: int, stop: int, origin: Origin) -> None:
        """Send steps [first, stop) of the whole, those of `chunk`."""
        manifest, progress = self._model.manifest, self.progress
        request = self.request
        outputs = {i: (manifest.outputs[i], chunk.output(i)) for i in request.outputs(manifest)}
        numbers = sum([output[0].size for spec, output in outputs.values() if spec.steps == "all"])
        most = max(1, LARGE_OUTPUT // max(numbers, 1))
        choose, shows_gates = request.outputs, request.returned is not None
        if shows_gates:
            choose = request.answers
        answers = choose(manifest)
        while (start := progress.done) < stop:
            end = progress.cut(min(start + most, stop))
            rows = {
                index: (spec, output[start - first : end - first] if spec.steps == "all" else output)
                for index, (spec, output) in outputs.items()
            }
            content = content_of([output for spec, output in rows.values() if spec.steps == "all"])
            encode = partial(
                replies.encode_rows,
                outputs=[rows[index] for index in answers],
                gates=[rows[index] for index in manifest.gates] if shows_gates else [],
                is_named=choose is not first_output,
                by_name=manifest.names_forecasts,
            )
            await progress.add(end - start, content, encode, origin.deadline)


def _check_pieces(returned: Returned) -> None:
    """Raises InvalidField for what is not sent piece by piece."""
    if returned.state is not None:
        raise InvalidField(
            "events have no states; a reply in one piece does, and so does the session",
            pointer=returned.pointer(returned.state),
        )
    if returned.output is None:
        raise InvalidField('events have the output: add "output"', pointer="/return")


def _last_of(chunk: Sequence, item: Item) -> Sequence:
    """The whole sequence, answered with the outputs at its last step; `chunk`: its last."""
    return Sequence(
        item.inputs,
        chunk.state,
        outputs=chunk.outputs[-1:],
        extra=chunk.extra,
        extras=chunk.extras[-1:],
    )


class TextEvents:
    """One request of `/generate`."""

    def __init__(self, generator: Generator, emit: Emit, resumed: EventId | None) -> None:
        """`resumed`: the last event that the client has; None: it has none."""
        self._generator = generator
        self._emit = emit
        self._resumed = resumed
        self._item: Item | None = None

    async def answer(self, body: bytes, *, tenant: str = "") -> Reply:
        """Emit the events; the returned reply has no body. Raises a CellgateError."""
        seed = None if self._resumed is None else self._resumed.seed
        return await self._generator.generate(body, tenant=tenant, seed=seed, respond=self._respond)

    async def _respond(
        self, request: Request, generation: Generation, seed: int, budget: ReplyBudget
    ) -> Reply:
        progress = Progress(self._emit, "token", self._resumed, request.stages)
        decode = request.decode

        def place(index: int, manifest: Manifest) -> Item:
            self._item = progress.place(decode(index, manifest))
            return self._item

        request.decode, request.on_open = place, progress.open
        request.compute = partial(_compute, progress, generation, seed, budget)
        run = self._generator.predictor.start(request)
        body = await run.answer_only()
        if not run.steps:
            assert self._item is not None
            await _replay(progress, generation, request.model, self._item, body, run.origin)
        await self._emit(Event(END, END, body))
        return Reply(b"", request.model.name, run.version, 1, run.steps, step=run.step, stages=request.stages)


async def _compute(
    progress: Progress,
    generation: Generation,
    seed: int,
    budget: ReplyBudget,
    model: Model,
    item: Item,
    state: State,
    *,
    keep_all: bool,
    origin: Origin,
) -> Sequence:
    """Implements `Compute`."""
    progress.begin(generation.digest(item.inputs[0]), most=generation.max_steps, seed=seed)
    on_token = _Tokens(progress, model.manifest.inputs[0], origin).send
    sequence = await compute_tokens(
        generation, seed, budget, model, item, state, keep_all=keep_all, origin=origin, on_token=on_token
    )
    progress.end()
    return sequence


async def _replay(
    progress: Progress, generation: Generation, model: Model, item: Item, body: bytes, origin: Origin
) -> None:
    """Send the tokens of a stored reply that the client lacks."""
    stored = orjson.loads(body)
    ids, seed = stored["ids"], stored["seed"]
    progress.begin(generation.digest(item.inputs[0]), most=len(ids), seed=seed)
    tokens = _Tokens(progress, model.manifest.inputs[0], origin)
    for index, token in enumerate(ids, 1):
        await tokens.send(token, index == len(ids))


class _Tokens:
    """Sends the tokens of one text."""

    def __init__(self, progress: Progress, spec: InputSpec, origin: Origin) -> None:
        self._progress = progress
        self._spec = spec
        self._origin = origin
        self._ids: list[int] = []
        self._text = None if spec.tokenizer is None else TextPieces(spec)

    async def send(self, token: int, is_last: bool) -> None:
        """Send one token."""
        self._ids.append(token)
        text = None if self._text is None else self._text.add(token)
        if self._text is not None and text is not None and is_last:
            text += self._text.rest(self._ids)
        name = self._spec.vocabulary[token] if self._spec.vocabulary else None
        encode = partial(encode_tokens, token=token, name=name, text=text)
        content = token.to_bytes(8, "little", signed=True)
        await self._progress.add(1, content, encode, self._origin.deadline)
