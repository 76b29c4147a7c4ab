"""`POST /generate`: a token is drawn from each output of a language model, and becomes its next input.

Each step goes through the scheduler, so that a long text does not block other requests. In a session, the
prompt and the generated tokens are committed together, before the reply leaves: with `at`, a retry gets the
same text. It knows nothing of HTTP.
"""

import functools
import secrets
from collections.abc import Awaitable, Callable
from math import isfinite
from time import perf_counter

import numpy as np

from service.codec import generation as generations
from service.codec.generation import Generation
from service.codec.reply import encode_generation
from service.codec.request import Item
from service.codec.sizes import check_reply, generation_bytes
from service.errors import NonFiniteOutput
from service.manifest import Manifest
from service.names import names_number
from service.predict.aside import LARGE_BODY
from service.predict.predictor import Predictor
from service.predict.reply_budget import ReplyBudget
from service.predict.request import Decode, Decoded, Reply, Request
from service.predict.sampling import draw
from service.repository import Model
from service.sequence import Array, Origin, Sequence, State
from service.sessions import token_chars
from service.stages import Stages
from service.state import StateLayout

Respond = Callable[[Request, Generation, int, ReplyBudget], Awaitable[Reply]]
OnToken = Callable[[int, bool], Awaitable[None]]  # a drawn token's id, and whether it is the last


class Generator:
    """Answers requests for text."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    async def generate(
        self,
        body: bytes,
        *,
        tenant: str = "",
        is_keyed: bool = False,
        seed: int | None = None,
        respond: Respond | None = None,
    ) -> Reply:
        """Answer a body of `POST /generate`; `is_keyed`: with an Idempotency-Key. Raises a CellgateError.

        `seed`: of a request that names none; None: random. `respond`: answers the request, with its seed,
        once it is read; None: with one reply, when the whole text is there.
        """
        stages = Stages()
        generation, model, decode = await self._read(body)
        seed = generation.seed if generation.seed is not None else seed
        if seed is None:
            seed = secrets.randbits(32)
        budget = self.predictor.reply_budget(len(body))
        request = Request(
            model,
            1,
            decode,
            functools.partial(_encode, seed),
            functools.partial(compute_tokens, generation, seed, budget),
            lambda item, _: generation.digest(item.inputs[0]),
            returns="last",
            is_pinned=names_number(generation.version),
            is_free=generation.version is None,
            is_keyed=is_keyed,
            tenant=tenant,
            read_begin=lambda _: (generation.session, generation.state),
            returns_state=generation.returns_state,
            draws=True,
            stages=stages,
        )
        with budget:
            if respond is not None:
                return await respond(request, generation, seed, budget)
            run = self.predictor.start(request)
            body = await run.answer_only()
        stages.encoded()
        return Reply(body, model.name, run.version, 1, run.steps, step=run.step, stages=stages)

    async def _read(self, body: bytes) -> tuple[Generation, Model, Decode]:
        """The request of a body, its model, and its prompt; a large body is read in a thread."""
        predictor, is_large = self.predictor, len(body) > LARGE_BODY
        parse = functools.partial(generations.parse, body)
        generation = await predictor.aside.run(parse, len(body)) if is_large else parse()
        model = predictor.repository.get(generation.model, generation.version)
        if generation.returns_state:
            predictor.tokens.check_usable("/return_state")
        decode: Decode = functools.partial(self._decode, generation)
        if is_large:
            read = functools.partial(Decoded, decode, 1, model.manifest)
            decode = await predictor.aside.run(read, len(body))
        return generation, model, decode

    def _decode(self, generation: Generation, _: int, manifest: Manifest) -> Item:
        item = generations.decode_prompt(generation, manifest, max_steps=self.predictor.max_steps)
        size = generation_bytes(manifest.inputs[0], generation.max_steps)
        if generation.returns_state:
            size += token_chars(StateLayout.of(manifest).num_bytes)
        check_reply(size, self.predictor.max_reply_bytes, "/max_steps")
        return item


async def compute_tokens(
    generation: Generation,
    seed: int,
    budget: ReplyBudget,
    model: Model,
    item: Item,
    state: State,
    *,
    keep_all: bool,  # noqa: ARG001  a sequence of one step has one output
    origin: Origin,
    on_token: OnToken | None = None,
) -> Sequence:
    """Feed the prompt, then each drawn token. The returned sequence's output is the drawn tokens.

    `on_token`: called with each token; the next is computed when it returns.
    """
    budget.reserve(0, generation_bytes(model.manifest.inputs[0], generation.max_steps))
    (prompt,) = item.inputs
    stop = generations.stop_ids(generation, model.manifest)
    random = np.random.default_rng(seed)
    sequence = await _feed(model, prompt, state, origin)
    drawn: list[int] = []
    run_s, is_last = sequence.run_s, False
    while not is_last:
        started = perf_counter()
        drawn.append(
            draw(
                _log_odds(model, sequence.output()),
                temperature=generation.temperature,
                top_k=generation.top_k,
                chance=random.random(),
            )
        )
        run_s += perf_counter() - started
        is_last = len(drawn) == generation.max_steps or drawn[-1] in stop
        if on_token is not None:
            await on_token(drawn[-1], is_last)
        sequence = await _feed(model, np.array(drawn[-1:], prompt.dtype), sequence.state, origin)
        run_s += sequence.run_s
    tokens = np.array(drawn, prompt.dtype)
    inputs = (np.concatenate([prompt, tokens]),)
    return Sequence(inputs, sequence.state, keep_all=True, outputs=[tokens], run_s=run_s)


async def _feed(model: Model, tokens: Array, state: State, origin: Origin) -> Sequence:
    sequence = Sequence((tokens,), state, origin=origin)
    await model.worker.predict(sequence)
    return sequence


def _log_odds(model: Model, output: Array) -> Array:
    """[vocabulary]: logits, or the logarithms of probabilities. Raises NonFiniteOutput if none is likely."""
    log_odds = output
    if model.manifest.outputs[0].kind != "logits":
        with np.errstate(divide="ignore", invalid="ignore"):  # of a probability of 0, or of NaN
            log_odds = np.log(output.astype(np.float64))
    if model.manifest.non_finite == "allow" and not isfinite(log_odds.max()):
        raise NonFiniteOutput("the model's output for the next token has NaN or no largest number")
    return log_odds


def _encode(seed: int, model: Model, sequence: Sequence, *, session: str | None, step: int | None) -> bytes:
    """The body of a reply; the sequence's output [steps] is the drawn tokens."""
    spec, ids = model.manifest.inputs[0], sequence.output().tolist()
    return encode_generation(model.name, model.version, spec, ids, seed, session=session, step=step)
