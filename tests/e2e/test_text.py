"""Text in place of token ids: characters, words and sub-words, whole and in pieces, at a real server."""

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

LEARN = {
    "characters": tokens.learn_characters(TEXTS),
    "words": tokens.learn_words(TEXTS, size=9),
    "subwords": tokens.learn_bpe(TEXTS, size=275),
    "letter-words": tokens.letter_words(["cat", "mat", "on", "sat", "the"]),
}
KINDS = pytest.mark.parametrize("kind", sorted(LEARN))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text-models")
    for kind, given in LEARN.items():
        text_models.write(root, kind, given)
    return root


@pytest.fixture(scope="module")
def text_server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("text-server"), models_dir=str(models)) as started:
        yield started


@pytest.fixture
def client(text_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=text_server.url, timeout=30) as opened:
        yield opened


def ask(client: httpx.Client, model: str, **sequence: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"model": model, "sequences": [sequence]})
    assert response.status_code == 200, response.text
    prediction: dict[str, Any] = response.json()["predictions"][0]
    return prediction


def refusal(client: httpx.Client, model: str, **sequence: Any) -> tuple[int, str, str]:
    response = client.post("/predict", json={"model": model, "sequences": [sequence]})
    problem = response.json()
    return response.status_code, problem["pointer"], problem["detail"]


@KINDS
def test_a_text_its_tokens_and_their_ids_are_the_same(client: httpx.Client, kind: str) -> None:
    given = LEARN[kind]
    ids = [int(step) for step in tokens.read(given, "the cat sat")[:, 0]]
    by_text = ask(client, kind, text="the cat sat")
    assert ask(client, kind, steps=ids) == by_text
    assert ask(client, kind, steps=[given.vocabulary[token] for token in ids]) == by_text
    assert ask(client, kind, steps="the cat sat") == by_text
    assert by_text["label"] in given.vocabulary


@KINDS
def test_a_text_in_pieces_cut_at_words_gives_what_the_whole_gives(client: httpx.Client, kind: str) -> None:
    whole = ask(client, kind, text="the cat sat on the mat")
    count = len(tokens.read(LEARN[kind], "the cat sat on the mat"))
    for piece in ("the", " cat sat", " on the mat"):
        last = ask(client, kind, text=piece, session=f"pieces-{kind}")
    assert last["output"] == whole["output"]
    assert last["step"] == count


def test_characters_may_be_cut_anywhere(client: httpx.Client) -> None:
    for piece in ("the c", "at s", "at"):
        last = ask(client, "characters", text=piece, session="anywhere")
    assert last["output"] == ask(client, "characters", text="the cat sat")["output"]


def test_what_the_vocabulary_lacks_is_refused_or_unknown(client: httpx.Client) -> None:
    status, pointer, detail = refusal(client, "characters", text="the cat, Zoe")
    assert (status, pointer) == (422, "/sequences/0/text")
    assert "'Z'" in detail and "character 9" in detail
    assert refusal(client, "characters", steps=["t", "Z"])[:2] == (422, "/sequences/0/steps/1")
    assert ask(client, "words", text="the zebra") == ask(client, "words", steps=["the", tokens.UNKNOWN])
    assert ask(client, "words", steps=["the", "zebra"]) == ask(client, "words", text="the yak")
    assert ask(client, "subwords", text="Zürich 東京")["label"]


def test_words_of_letters_are_read_out_of_a_text_as_it_was_written(client: httpx.Client) -> None:
    written = ask(client, "letter-words", text="The CAT's mat, since 1987...\nOn it: the cat.")
    plain = ["the", "cat", tokens.UNKNOWN, "mat", tokens.UNKNOWN, "on", tokens.UNKNOWN, "the", "cat"]
    assert written == ask(client, "letter-words", steps=plain)
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
def test_what_is_no_text_is_refused_where_it_is(
    client: httpx.Client, sequence: dict[str, Any], pointer: str
) -> None:
    assert refusal(client, "subwords", **sequence)[:2] == (422, pointer)


def test_a_text_of_too_many_tokens_is_refused_also_where_it_is_not_even_read(client: httpx.Client) -> None:
    for given in ("a" * 20_001, "a" * 1_000_000):
        response = client.post("/predict", json={"model": "characters", "sequences": [{"text": given}]})
        assert response.json()["code"] == "sequence_too_long"
        assert response.json()["pointer"] == "/sequences/0/text"


def test_a_model_of_numbers_takes_no_text(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert refusal(client, "vowels", text="the cat")[:2] == (422, "/sequences/0/text")


def test_a_tokenizer_that_is_none_or_of_another_vocabulary_is_refused_at_the_start(models: Path) -> None:
    spec = read_manifest(models / "words" / "1").inputs[0]
    with pytest.raises(StartupError, match="cannot be read"):
        text.check(spec.model_copy(update={"tokenizer": "{}"}))
    other = LEARN["characters"].tokenizer
    with pytest.raises(StartupError, match="differ"):
        text.check(spec.model_copy(update={"tokenizer": other}))


def test_the_vocabulary_is_in_the_manifest(models: Path) -> None:
    fields = json.loads((models / "subwords" / "1" / MANIFEST_FILE).read_text())
    assert tuple(fields["inputs"][0]["vocabulary"]) == LEARN["subwords"].vocabulary
    fields["inputs"][0]["vocabulary"] = []
    with pytest.raises(ValueError, match="text needs the kind token and a vocabulary"):
        Manifest.model_validate(fields)
    assert np.isfinite(fields["example"]["output"]).all()


def test_a_server_without_the_tokenizers_library_says_what_to_install(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_manifest(models / "words" / "1").inputs[0]
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(StartupError, match=r"pip install cellgate\[text\]"):
        text.check(spec.model_copy(update={"tokenizer": f"{spec.tokenizer} "}))  # one not loaded before
