"""`generate`: a language model continues a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellgate.flow import Flow, Send
from cellgate.predict import JSON_HEADERS, dumps
from cellgate.predictions import Generation, generation_from
from cellgate.replies import parse
from cellgate.retry import Retry, exchange

Prompt = str | Sequence[int | str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next tokens are drawn. None: the server's default."""

    max_steps: int | None = None
    """Tokens to generate."""
    temperature: float | None = None
    """0: always the most likely token."""
    top_k: int | None = None
    """Draw from the so many most likely tokens."""
    seed: int | None = None
    """Repeats a text; the reply has it."""
    stop: Sequence[int | str] | None = None
    """The text ends with the first of these tokens."""

    def fields(self) -> dict[str, Any]:
        """Those of the request."""
        stop = None if self.stop is None else list(self.stop)
        return {
            "max_steps": self.max_steps,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "seed": self.seed,
            "stop": stop,
        }


def generate(
    prompt: Prompt,
    sampling: Sampling,
    retry: Retry,
    model: str | None = None,
    version: str | None = None,
    place: Mapping[str, Any] | None = None,
) -> Flow[Generation]:
    """Continue a prompt. `place`: the fields session, at, rewinds, end and state of a request."""
    response = yield from exchange(request_of(prompt, sampling, model, version, place), retry)
    return generation_from(parse(response))


def request_of(
    prompt: Prompt,
    sampling: Sampling,
    model: str | None = None,
    version: str | None = None,
    place: Mapping[str, Any] | None = None,
) -> Send:
    """The request of a generation."""
    steps = prompt if isinstance(prompt, str) else list(prompt)
    fields = {"model": model, "version": version, "prompt": steps} | sampling.fields() | dict(place or {})
    body = dumps({name: value for name, value in fields.items() if value is not None})
    return Send("POST", "/generate", body, JSON_HEADERS)


def begin(send: Send) -> Flow[Send]:
    """A request that needs nothing to be asked before."""
    yield from ()
    return send
