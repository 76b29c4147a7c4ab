"""The body of `POST /generate`: a prompt, and how to continue it.

It knows the manifest and JSON; it knows nothing of HTTP, sessions or how tokens are drawn.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from service.codec.arrays import decode_inputs
from service.codec.fields import (
    GivenState,
    kind,
    parse_object,
    read_count,
    read_flag,
    read_rewinds,
    read_session,
    read_state,
    read_string,
    refuse_unknown,
)
from service.codec.request import Item, begun_digest
from service.errors import GenerationNotSupported, InvalidField, SequenceTooLong
from service.manifest import InputSpec, Manifest
from service.sequence import Array

DEFAULT_STEPS = 100
MAX_TEMPERATURE = 100
MAX_STOP_TOKENS = 64
_FIELDS = frozenset(
    {
        "model", "version", "prompt", "max_steps", "temperature", "top_k", "seed", "stop",
        "session", "at", "end", "rewinds", "state", "return_state",
    }
)  # fmt: skip


@dataclass(slots=True)
class Generation:
    """A request whose fields are valid; its tokens are not yet checked against a model's vocabulary."""

    prompt: str | list[int | str]
    model: str | None = None
    version: str | None = None
    max_steps: int = DEFAULT_STEPS
    temperature: float = 1.0
    top_k: int | None = None  # None: all tokens
    seed: int | None = None  # None: random
    stop: tuple[int | str, ...] = ()
    session: str | None = None
    at: int | None = None
    end: bool = False
    state: GivenState | None = None
    returns_state: bool = False
    rewinds: int | None = None

    def digest(self, prompt: Array) -> bytes:
        """16 bytes (BLAKE2b, RFC 7693) that tell this request of a session from any other."""
        options = {
            "max_steps": self.max_steps,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "seed": self.seed,
            "stop": self.stop,
            "session": self.session,
            "end": self.end,
        }
        digest = hashlib.blake2b(b"generate", digest_size=16)
        digest.update(prompt.tobytes())
        digest.update(orjson.dumps(options))
        if self.returns_state:
            digest.update(b"return_state")
        return digest.digest() if self.state is None else begun_digest(digest.digest(), self.state)


def parse(body: bytes) -> Generation:
    """Read a request. Raises InvalidJson or InvalidField."""
    document = parse_object(body)
    refuse_unknown(document, _FIELDS)
    session, at, end = read_session(document)
    return Generation(
        _read_prompt(document),
        read_string(document, "model"),
        read_string(document, "version"),
        _read_max_steps(document),
        _read_temperature(document),
        read_count(document, "top_k", 1),
        read_count(document, "seed", 0),
        _read_stop(document),
        session,
        at,
        end,
        read_state(document),
        read_flag(document, "return_state"),
        read_rewinds(document),
    )


def decode_prompt(generation: Generation, manifest: Manifest, *, max_steps: int) -> Item:
    """The prompt as token ids. Raises GenerationNotSupported, or a BadInput that points at the fault."""
    check_generates(manifest)
    inputs, _ = decode_inputs(generation.prompt, manifest, "/prompt", max_steps)
    steps = len(inputs[0])
    if steps + generation.max_steps > max_steps:
        raise SequenceTooLong(
            f"{steps} steps of the prompt and {generation.max_steps} to generate, the maximum is {max_steps}",
            pointer="/max_steps",
        )
    stop_ids(generation, manifest)
    return Item(
        inputs,
        generation.session,
        generation.at,
        generation.end,
        "auto" if generation.state is None else "given",
        state=generation.state,
        returns_state=generation.returns_state,
        rewinds=generation.rewinds,
    )


def stop_ids(generation: Generation, manifest: Manifest) -> frozenset[int]:
    """The ids of the tokens that end the text. Raises InvalidField for one that is not in the vocabulary."""
    spec = manifest.inputs[0]
    return frozenset(_stop_id(spec, token, f"/stop/{index}") for index, token in enumerate(generation.stop))


def check_generates(manifest: Manifest) -> None:
    """Refuse a model that cannot continue a text by itself. Raises GenerationNotSupported."""
    spec, output = manifest.inputs[0], manifest.outputs[0]
    if manifest.task != "language":
        raise GenerationNotSupported(f"the model's task is {manifest.task}, not language", pointer="/model")
    takes_tokens = spec.kind == "token" and not spec.dims and manifest.step_multiple == 1
    if not manifest.chunkable or len(manifest.inputs) > 1 or not takes_tokens:
        raise GenerationNotSupported(
            "generation needs a causal model with one input, of one token a step", pointer="/model"
        )
    has_odds = output.kind in ("probabilities", "logits") and len(output.dims) == 1
    if not has_odds or (spec.vocabulary and output.dims != (len(spec.vocabulary),)):
        raise GenerationNotSupported(
            "the model's output does not hold one probability for each token", pointer="/model"
        )


def _read_prompt(document: dict[str, Any]) -> str | list[int | str]:
    prompt = document.get("prompt")
    if not isinstance(prompt, str | list) or not prompt:
        actual = kind(prompt) if "prompt" in document else "nothing"
        raise InvalidField(
            f"expected a text or a list of at least one token, got {actual}", pointer="/prompt"
        )
    if isinstance(prompt, list):
        _check_tokens(prompt, "/prompt")
    return prompt


def _read_max_steps(document: dict[str, Any]) -> int:
    steps = read_count({"max_steps": DEFAULT_STEPS} | document, "max_steps", 1)
    if steps is None:
        raise InvalidField("expected an integer from 1 to 2^53-1, got null", pointer="/max_steps")
    return steps


def _read_stop(document: dict[str, Any]) -> tuple[int | str, ...]:
    stop = document.get("stop", [])
    if not isinstance(stop, list) or len(stop) > MAX_STOP_TOKENS:
        actual = f"{len(stop)} of them" if isinstance(stop, list) else kind(stop)
        raise InvalidField(
            f"expected a list of at most {MAX_STOP_TOKENS} tokens, got {actual}", pointer="/stop"
        )
    _check_tokens(stop, "/stop")
    return tuple(stop)


def _check_tokens(tokens: list[Any], pointer: str) -> None:
    for index, token in enumerate(tokens):
        if type(token) is not int and not isinstance(token, str):
            raise InvalidField(
                f"expected a token, by id or name, got {kind(token)}", pointer=f"{pointer}/{index}"
            )


def _read_temperature(document: dict[str, Any]) -> float:
    value = document.get("temperature", 1.0)
    if type(value) not in (int, float) or not 0 <= value <= MAX_TEMPERATURE:
        actual = str(value) if type(value) in (int, float) else kind(value)
        raise InvalidField(
            f"expected a number from 0 to {MAX_TEMPERATURE}, got {actual}", pointer="/temperature"
        )
    return float(value)


def _stop_id(spec: InputSpec, token: int | str, pointer: str) -> int:
    token_id = spec.ids.get(token) if isinstance(token, str) else token
    if token_id is None or token_id < 0 or (spec.num_ids and token_id >= spec.num_ids):
        raise InvalidField(f"token {token!r} is not in the vocabulary", pointer=pointer)
    return token_id
