"""`/generate` around a model whose next token is certain: the sum of all token ids so far, modulo three."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.errors import CellgateError, GenerationNotSupported, NonFiniteOutput, SessionConflict
from service.manifest import Manifest
from service.predict import Generator
from service.sequence import Result, Sequence
from tests.service.predict.parts import LETTERS, LetterSums, Parts, SessionSums, run


class Letters(Parts):
    """A server of the language model."""

    def __init__(self, engine: type[SessionSums] = LetterSums, manifest: Manifest = LETTERS) -> None:
        super().__init__(engine=engine, manifest=manifest)
        self.generator = Generator(self.predictor)

    async def generate(self, prompt: Any = "", **fields: Any) -> dict[str, Any]:
        fields = {"prompt": prompt or ["b"], "max_steps": 4, "seed": 1} | fields
        reply: dict[str, Any] = orjson.loads((await self.generator.generate(orjson.dumps(fields))).body)
        return reply


def test_each_token_is_fed_back() -> None:
    async def body() -> None:
        reply = await Letters().generate(["b"])  # sums 1, 2, 4, 8
        assert reply == {
            "model": "m", "version": "1", "ids": [1, 2, 1, 2], "tokens": ["b", "c", "b", "c"], "seed": 1,
        }  # fmt: skip

    run(body)


class NoLetters(LetterSums):
    """Its output for the first token is NaN."""

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        odds, state, *_ = super()._step(sequence, start, stop)
        return Result(np.where(np.arange(3) == 0, np.float32(np.nan), odds), state)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_no_token_is_drawn_from_what_is_no_number(kind: str, temperature: float) -> None:
    """NaN was the likeliest token where the manifest allows it in an output."""
    fields = LETTERS.model_dump(exclude_unset=True) | {"non_finite": "allow"}
    fields["outputs"] = [dict(fields["outputs"][0], kind=kind)]

    async def body() -> None:
        letters = Letters(NoLetters, Manifest.model_validate(fields))
        with pytest.raises(NonFiniteOutput):
            await letters.generate(temperature=temperature)

    run(body)


def test_the_text_ends_with_a_token_of_stop() -> None:
    async def body() -> None:
        letters = Letters()
        assert (await letters.generate(stop=["c"]))["ids"] == [1, 2]
        assert (await letters.generate(stop=[1]))["ids"] == [1]
        assert (await letters.generate(stop=["a"]))["ids"] == [1, 2, 1, 2]

    run(body)


def test_a_seed_is_chosen_and_named_if_there_is_none() -> None:
    async def body() -> None:
        letters = Letters()
        seeds = {(await letters.generate(seed=None))["seed"] for _ in range(3)}
        assert len(seeds) == 3

    run(body)


def test_prompt_and_tokens_are_committed_together_and_a_retry_gets_the_same_text() -> None:
    async def body() -> None:
        letters = Letters()
        first = await letters.generate(session="s", at=0)
        assert (first["session"], first["step"]) == ("s", 5)
        assert await letters.generate(session="s", at=0) == first
        with pytest.raises(SessionConflict) as raised:
            await letters.generate(session="s", at=0, seed=2)
        assert raised.value.pointer is None
        second = await letters.generate(["a"], session="s", at=5)  # the sum is 1 + 1 + 2 + 1 + 2 + 0 = 7
        assert (second["ids"], second["step"]) == ([1, 2, 1, 2], 10)

    run(body)


def test_the_reply_counts_prompt_and_tokens() -> None:
    async def body() -> None:
        letters = Letters()
        fields = {"prompt": ["b", "b"], "max_steps": 3, "session": "s", "at": 0}
        reply = await letters.generator.generate(orjson.dumps(fields))
        assert (reply.model, reply.version, reply.sequences, reply.steps) == ("m", "1", 1, 5)
        retry = await letters.generator.generate(orjson.dumps(fields))
        assert retry.steps == 0 and retry.body == reply.body

    run(body)


def test_a_model_of_another_task_generates_nothing() -> None:
    async def body() -> None:
        with pytest.raises(GenerationNotSupported, match="forecast, not language"):
            await Generator(Parts().predictor).generate(b'{"prompt": "a"}')

    run(body)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"prompt": ["z"]}, "invalid_field", "/prompt/0"),
        ({"stop": ["z"]}, "invalid_field", "/stop/0"),
        ({"max_steps": 20}, "sequence_too_long", "/max_steps"),
        ({"model": "z"}, "unknown_model", "/model"),
        ({"session": "s", "at": 3}, "unknown_session", None),
    ],
)
def test_an_error_points_at_its_field(fields: dict[str, Any], code: str, pointer: str | None) -> None:
    async def body() -> None:
        with pytest.raises(CellgateError) as raised:
            await Letters().generate(**fields)
        assert (raised.value.code, raised.value.pointer) == (code, pointer)

    run(body)
