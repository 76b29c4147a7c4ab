"""Closed-loop generation: what a language model says is drawn from, and fed back to it step by step.

Each step goes through the scheduler like anybody's, so a long text holds up nobody. In a session prompt and
generated tokens are committed together, before the reply leaves: `at` makes a retry safe, and it gets the
same text. Knows no HTTP.
"""

import functools
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError

from service.api.schemas import GenerateBody
from service.codec import text
from service.codec.request import Item, decode_inputs
from service.errors import GenerationNotSupported, InvalidField, InvalidJson, SequenceTooLong
from service.manifest import InputSpec, Manifest
from service.predict.predictor import Predictor, Reply, Request, Run
from service.predict.sampling import draw
from service.repository.model import Model
from service.sequence import Array, Sequence, State


@dataclass(slots=True, kw_only=True)
class Generation(Item):
    """A prompt, and how to go on from it. Once computed, `inputs` are prompt and generated tokens."""

    body: GenerateBody
    prompt: Array  # [time]
    stop: frozenset[int]

    def digest(self, keep_all: bool) -> bytes:  # noqa: ARG002  there is but one answer
        """16 bytes (BLAKE2b, RFC 7693) that tell this request of a session from any other."""
        digest = hashlib.blake2b(b"generate", digest_size=16)
        digest.update(self.prompt.tobytes())
        digest.update(self.body.model_dump_json(exclude={"model", "version", "prompt", "at"}).encode())
        return digest.digest()


class Generator:
    """Answers requests for text."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def generate(self, body: bytes, *, tenant: str = "") -> Reply:
        """Answer a body of `POST /generate`. Raises a CellgateError."""
        asked = read(body)
        predictor = self._predictor
        model = predictor.repository.get(asked.model, asked.version)
        seed = asked.seed if asked.seed is not None else secrets.randbits(32)
        request = Request(
            model,
            1,
            lambda _, manifest: decode(asked, manifest, max_steps=predictor.max_steps),
            functools.partial(_encode, seed),
            returns="last",
            is_pinned=asked.version is not None,
            tenant=tenant,
        )
        run = GenerationRun(request, predictor.repository, predictor.sessions, predictor.deadline())
        run.seed = seed
        answer = await run.generate()
        return Reply(answer, model.name, run.version, 1, run.steps)


class GenerationRun(Run):
    """One generation on its way."""

    seed = 0

    async def generate(self) -> bytes:
        """The encoded answer."""
        return await self._answer(0)

    async def _compute(self, model: Model, item: Item, state: State) -> Sequence:
        """The prompt, then token by token. What comes out is a sequence whose output is the tokens drawn."""
        assert isinstance(item, Generation)
        asked, chances = item.body, np.random.default_rng(self.seed)
        dtype, is_logits = item.prompt.dtype, model.manifest.outputs[0].kind == "logits"
        sequence = await self._feed(model, item.prompt, state)
        drawn: list[int] = []
        while len(drawn) < asked.max_steps and not (drawn and drawn[-1] in item.stop):
            said = sequence.output()
            with np.errstate(divide="ignore"):  # of a probability of 0
                log_odds = said if is_logits else np.log(said.astype(np.float64))
            chance = chances.random()
            drawn.append(draw(log_odds, temperature=asked.temperature, top_k=asked.top_k, chance=chance))
            sequence = await self._feed(model, np.array(drawn[-1:], dtype), sequence.state)
        tokens = np.array(drawn, dtype)
        item.inputs = (np.concatenate([item.prompt, tokens]),)
        return Sequence(item.inputs, sequence.state, keep_all=True, outputs=[tokens])

    async def _feed(self, model: Model, tokens: Array, state: State) -> Sequence:
        sequence = Sequence((tokens,), state, deadline=self.deadline)
        await model.worker.predict(sequence)
        return sequence


def read(body: bytes) -> GenerateBody:
    """The request, sound but for what only a model can know. Raises InvalidJson or InvalidField."""
    try:
        return GenerateBody.model_validate_json(body)
    except ValidationError as error:
        # Of a list that is no prompt, pydantic first says that it is no text.
        fault = max(error.errors(), key=lambda told: sum(isinstance(part, int) for part in told["loc"]))
        if fault["type"] == "json_invalid":
            raise InvalidJson(f"the body is not JSON: {fault['msg']}") from error
        name, *within = fault["loc"] or ("",)
        path = [name, *(part for part in within if isinstance(part, int))] if name else []
        raise InvalidField(fault["msg"], pointer="".join(f"/{part}" for part in path)) from error


def decode(asked: GenerateBody, manifest: Manifest, *, max_steps: int) -> Generation:
    """The prompt as token ids. Raises GenerationNotSupported, or a BadInput that points at the fault."""
    spec = _tokens_of(manifest)
    (prompt,) = decode_inputs(asked.prompt, manifest, "/prompt", max_steps)
    if len(prompt) + asked.max_steps > max_steps:
        raise SequenceTooLong(
            f"{len(prompt)} of the prompt and {asked.max_steps} more, at most {max_steps} steps are taken",
            pointer="/max_steps",
        )
    stop = frozenset(_stop_id(spec, token, f"/stop/{index}") for index, token in enumerate(asked.stop))
    return Generation((prompt,), asked.session, asked.at, asked.end, body=asked, prompt=prompt, stop=stop)


def _tokens_of(manifest: Manifest) -> InputSpec:
    """The one input of a language model that goes on by itself. Raises GenerationNotSupported."""
    spec, output = manifest.inputs[0], manifest.outputs[0]
    if manifest.task != "language":
        raise GenerationNotSupported(f"the model's task is {manifest.task}, not language", pointer="/model")
    if not manifest.chunkable or len(manifest.inputs) > 1 or spec.kind != "token" or spec.dims:
        raise GenerationNotSupported("it takes a causal model of one token a step", pointer="/model")
    says_which = output.kind in ("probabilities", "logits") and len(output.dims) == 1
    if not says_which or (spec.vocabulary and output.dims != (len(spec.vocabulary),)):
        raise GenerationNotSupported("the model does not say how likely each token is", pointer="/model")
    return spec


def _stop_id(spec: InputSpec, token: int | str, pointer: str) -> int:
    found = spec.ids.get(token) if isinstance(token, str) else token
    if found is None or found < 0 or (spec.vocabulary and found >= len(spec.vocabulary)):
        raise InvalidField(f"token {token!r} is not in the vocabulary", pointer=pointer)
    return found


def _encode(seed: int, model: Model, output: Array, *, session: str | None, step: int | None) -> bytes:
    """The body of an answer; `output` [steps] is the tokens drawn."""
    spec, ids = model.manifest.inputs[0], output.tolist()
    reply: dict[str, Any] = {"model": model.name, "version": model.version, "ids": ids, "seed": seed}
    if spec.vocabulary:
        reply["tokens"] = [spec.vocabulary[token] for token in ids]
    if (written := text.decode(spec, ids)) is not None:
        reply["text"] = written
    if session is not None:
        reply |= {"session": session, "step": step}
    return orjson.dumps(reply)
