"""Text in place of token ids on a real server: characters, words and sub-words, whole and in pieces."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.codec import text
from service.errors import StartupError
from service.manifest import MANIFEST_FILE, Manifest
from service.repository import read_manifest
from tests.e2e.server import Server, running
from tests.service import text_models
from tests.service.text_models import TEXTS
from training.data import tokens

TOKENS = {
    "characters": tokens.learn_characters(TEXTS),
    "words": tokens.learn_words(TEXTS, size=9),
    "subwords": tokens.learn_bpe(TEXTS, size=275),
    "letter-words": tokens.letter_words(["cat", "mat", "on", "sat", "the"]),
}
KINDS = pytest.mark.parametrize("kind", sorted(TOKENS))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text-models")
    for kind, source in TOKENS.items():
        text_models.write(root, kind, source)
    return root


@pytest.fixture(scope="module")
def text_server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("text-server"), models_dir=str(models)) as started:
        yield started


@pytest.fixture
def client(text_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=text_server.url, timeout=30) as opened:
        yield opened


def predict(client: httpx.Client, model: str, **sequence: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"model": model, "sequences": [sequence]})
    assert response.status_code == 200, response.text
    prediction: dict[str, Any] = response.json()["predictions"][0]
    return prediction


def refusal(client: httpx.Client, model: str, **sequence: Any) -> tuple[int, str, str]:
    response = client.post("/predict", json={"model": model, "sequences": [sequence]})
    problem = response.json()
    return response.status_code, problem["pointer"], problem["detail"]


@KINDS
def test_a_text_its_tokens_and_their_ids_give_the_same_answer(client: httpx.Client, kind: str) -> None:
    source = TOKENS[kind]
    ids = [int(step) for step in tokens.read(source, "the cat sat")[:, 0]]
    by_text = predict(client, kind, text="the cat sat")
    assert predict(client, kind, steps=ids) == by_text
    assert predict(client, kind, steps=[source.vocabulary[token] for token in ids]) == by_text
    assert predict(client, kind, steps="the cat sat") == by_text
    assert by_text["label"] in source.vocabulary


@KINDS
def test_a_text_cut_between_words_gives_the_answer_of_the_whole(client: httpx.Client, kind: str) -> None:
    whole = predict(client, kind, text="the cat sat on the mat")
    count = len(tokens.read(TOKENS[kind], "the cat sat on the mat"))
    for piece in ("the", " cat sat", " on the mat"):
        last = predict(client, kind, text=piece, session=f"pieces-{kind}")
    assert last["output"] == whole["output"]
    assert last["step"] == count


def test_characters_may_be_cut_anywhere(client: httpx.Client) -> None:
    for piece in ("the c", "at s", "at"):
        last = predict(client, "characters", text=piece, session="anywhere")
    assert last["output"] == predict(client, "characters", text="the cat sat")["output"]


def test_text_outside_the_vocabulary_is_refused_or_unknown(client: httpx.Client) -> None:
    status, pointer, detail = refusal(client, "characters", text="the cat, Zoe")
    assert (status, pointer) == (422, "/sequences/0/text")
    assert "'Z'" in detail and "character 9" in detail
    assert refusal(client, "characters", steps=["t", "Z"])[:2] == (422, "/sequences/0/steps/1")
    assert predict(client, "words", text="the zebra") == predict(
        client, "words", steps=["the", tokens.UNKNOWN]
    )
    assert predict(client, "words", steps=["the", "zebra"]) == predict(client, "words", text="the yak")
    assert predict(client, "subwords", text="Zürich 東京")["label"]


def test_letter_words_are_read_from_text_with_case_and_punctuation(client: httpx.Client) -> None:
    written = predict(client, "letter-words", text="The CAT's mat, since 1987...\nOn it: the cat.")
    plain = ["the", "cat", tokens.UNKNOWN, "mat", tokens.UNKNOWN, "on", tokens.UNKNOWN, "the", "cat"]
    assert written == predict(client, "letter-words", steps=plain)
    assert refusal(client, "letter-words", text="1987!")[:2] == (422, "/sequences/0/text")


@pytest.mark.parametrize(
    ("sequence", "pointer"),
    [
        ({"text": 5}, "/sequences/0/text"),
        ({"text": ["a"]}, "/sequences/0/text"),
        ({"text": ""}, "/sequences/0/text"),
        ({"text": "a", "steps": [1]}, "/sequences/0"),
        ({"session": "s"}, "/sequences/0"),
    ],
)
def test_an_invalid_text_is_refused_with_a_pointer(
    client: httpx.Client, sequence: dict[str, Any], pointer: str
) -> None:
    assert refusal(client, "subwords", **sequence)[:2] == (422, pointer)


def test_a_text_of_too_many_tokens_is_refused_even_before_it_is_tokenized(client: httpx.Client) -> None:
    for long in ("a" * 20_001, "a" * 1_000_000):
        response = client.post("/predict", json={"model": "characters", "sequences": [{"text": long}]})
        assert response.json()["code"] == "sequence_too_long"
        assert response.json()["pointer"] == "/sequences/0/text"


def test_a_model_of_numbers_refuses_text(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert refusal(client, "vowels", text="the cat")[:2] == (422, "/sequences/0/text")


def test_an_invalid_tokenizer_or_one_of_another_vocabulary_is_refused_at_the_start(models: Path) -> None:
    spec = read_manifest(models / "words" / "1").inputs[0]
    with pytest.raises(StartupError, match="cannot be read"):
        text.check(spec.model_copy(update={"tokenizer": "{}"}))
    other = TOKENS["characters"].tokenizer
    with pytest.raises(StartupError, match="differ"):
        text.check(spec.model_copy(update={"tokenizer": other}))


def test_the_vocabulary_is_in_the_manifest(models: Path) -> None:
    fields = json.loads((models / "subwords" / "1" / MANIFEST_FILE).read_text())
    assert tuple(fields["inputs"][0]["vocabulary"]) == TOKENS["subwords"].vocabulary
    fields["inputs"][0]["vocabulary"] = []
    with pytest.raises(ValueError, match="text needs the kind token and a vocabulary"):
        Manifest.model_validate(fields)
    assert np.isfinite(fields["example"]["output"]).all()


def test_without_the_tokenizers_library_the_error_names_the_package(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_manifest(models / "words" / "1").inputs[0]
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(StartupError, match="pip install tokenizers"):
        text.check(spec.model_copy(update={"tokenizer": f"{spec.tokenizer} "}))  # not cached by another test
