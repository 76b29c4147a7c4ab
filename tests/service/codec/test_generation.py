"""The body of `/generate`: its fields, its prompt, and the digest that tells a retry from another request."""

import json
from typing import Any

import numpy as np
import pytest

from service.codec import generation
from service.codec.generation import Generation
from service.errors import GenerationNotSupported, InvalidField, SequenceTooLong
from service.manifest import Manifest

LETTERS = {"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a", "b", "c"]}
STATE = {"input": "h", "output": "h_out", "shape": ["batch", 2]}


def language(**changes: Any) -> Manifest:
    base: dict[str, Any] = {
        "task": "language",
        "inputs": [LETTERS],
        "states": [STATE],
        "outputs": [{"name": "y", "kind": "probabilities", "dims": [3]}],
    }
    return Manifest.model_validate(base | changes)


def parse(**fields: Any) -> Generation:
    return generation.parse(json.dumps({"prompt": ["a"]} | fields).encode())


def test_what_is_absent_has_its_default() -> None:
    assert parse() == Generation(["a"], max_steps=100, temperature=1.0)
    null = parse(model=None, version=None, top_k=None, seed=None, session=None, at=None)
    assert null == parse()


def test_every_field_is_read() -> None:
    full = parse(
        model="m", version="2", max_steps=3, temperature=0, top_k=4, seed=5, stop=["b", 2], session="s", at=6,
        end=True,
    )  # fmt: skip
    expected = Generation(["a"], "m", "2", 3, 0.0, 4, 5, ("b", 2), "s", 6, True)
    assert full == expected and type(full.temperature) is float


@pytest.mark.parametrize(
    ("fields", "pointer", "message"),
    [
        ({"prompt": ""}, "/prompt", "got an empty string"),
        ({"prompt": []}, "/prompt", "got an empty list"),
        ({"prompt": None}, "/prompt", "got null"),
        ({"prompt": ["a", 1.5]}, "/prompt/1", "expected a token, by id or name, got a number"),
        ({"prompt": [True]}, "/prompt/0", "got a boolean"),
        ({"max_steps": 0}, "/max_steps", "expected an integer from 1 to 2^53-1, got 0"),
        ({"max_steps": None}, "/max_steps", "got null"),
        ({"temperature": 101}, "/temperature", "expected a number from 0 to 100, got 101"),
        ({"temperature": "1"}, "/temperature", "got a string"),
        ({"temperature": True}, "/temperature", "got a boolean"),
        ({"top_k": 1.0}, "/top_k", "got a number"),
        ({"seed": 2**53}, "/seed", "got 9007199254740992"),
        ({"stop": "a"}, "/stop", "expected a list of at most 64 tokens, got a string"),
        ({"stop": ["a"] * 65}, "/stop", "got 65"),
        ({"stop": ["a", None]}, "/stop/1", "got null"),
    ],
)
def test_a_bad_field_is_refused_at_its_place(fields: dict[str, Any], pointer: str, message: str) -> None:
    with pytest.raises(InvalidField) as raised:
        parse(**fields)
    assert raised.value.pointer == pointer and message in raised.value.detail
    assert type(raised.value) is InvalidField


def test_a_body_without_a_prompt_is_refused() -> None:
    with pytest.raises(InvalidField, match="got nothing") as raised:
        generation.parse(b"{}")
    assert raised.value.pointer == "/prompt"


def test_the_prompt_becomes_token_ids_of_a_session() -> None:
    item = generation.decode_prompt(
        parse(prompt=["c", 0], session="s", at=4, end=True), language(), max_steps=102
    )
    assert item.inputs[0].tolist() == [2, 0] and item.inputs[0].dtype == np.int64
    assert (item.session, item.at, item.end) == ("s", 4, True)


def test_prompt_and_generated_tokens_together_are_bounded() -> None:
    with pytest.raises(SequenceTooLong) as raised:
        generation.decode_prompt(parse(prompt=["a", "a"], max_steps=9), language(), max_steps=10)
    assert raised.value.pointer == "/max_steps"
    assert generation.decode_prompt(parse(prompt=["a"], max_steps=9), language(), max_steps=10)


@pytest.mark.parametrize(("token", "index"), [("z", 0), (3, 1), (-1, 1)])
def test_a_token_that_the_model_lacks_cannot_end_the_text(token: int | str, index: int) -> None:
    stop = ["a"] * index + [token]
    with pytest.raises(InvalidField, match="not in the vocabulary") as raised:
        generation.decode_prompt(parse(stop=stop), language(), max_steps=200)
    assert raised.value.pointer == f"/stop/{index}"
    assert generation.stop_ids(parse(stop=["c", 0]), language()) == {2, 0}


@pytest.mark.parametrize(
    "manifest",
    [
        language(task="classify"),
        language(causal=False),
        language(states=[]),
        language(inputs=[{"name": "x"}]),
        language(inputs=[LETTERS, {"name": "z"}]),
        language(inputs=[LETTERS | {"dims": [2]}]),
        language(outputs=[{"name": "y", "kind": "values", "dims": [3]}]),
        language(outputs=[{"name": "y", "kind": "logits", "dims": [3, 1]}]),
        language(outputs=[{"name": "y", "kind": "logits", "dims": [4]}]),
    ],
)
def test_a_model_that_cannot_feed_itself_is_refused(manifest: Manifest) -> None:
    with pytest.raises(GenerationNotSupported) as raised:
        generation.decode_prompt(parse(), manifest, max_steps=200)
    assert raised.value.pointer == "/model"


def test_logits_of_an_open_vocabulary_are_enough() -> None:
    open_tokens = {"name": "x", "kind": "token", "dtype": "int64"}
    manifest = language(inputs=[open_tokens], outputs=[{"name": "y", "kind": "logits", "dims": [9]}])
    assert generation.decode_prompt(parse(prompt=[7]), manifest, max_steps=200).steps == 1


PROMPT = np.array([1, 2], np.int64)


def test_a_digest_is_the_one_that_stored_sessions_hold() -> None:
    """A retry after an upgrade must still be recognized: these bytes may never change."""
    request = parse(session="s", temperature=0.7, stop=["ü", 3], seed=9)
    assert request.digest(PROMPT).hex() == "3750ad9716e0f2dae0cc6091d821ff2e"


def test_a_digest_tells_requests_apart_but_not_a_retry() -> None:
    base = parse(session="s", seed=1).digest(PROMPT)
    assert parse(session="s", seed=1, at=3, version="1").digest(PROMPT) == base
    others: list[dict[str, Any]] = [
        {"seed": 2},
        {"max_steps": 7},
        {"temperature": 0.5},
        {"top_k": 1},
        {"stop": [1]},
        {"end": True},
    ]
    digests = {parse(**({"session": "s", "seed": 1} | other)).digest(PROMPT) for other in others}
    assert len(digests | {base, parse(session="s", seed=1).digest(PROMPT[:1])}) == len(others) + 2
