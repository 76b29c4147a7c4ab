"""POST /generate on a real server: seeds, sessions, and agreement with /predict."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server, running
from tests.service import text_models
from tests.service.text_models import TEXTS
from tests.training import sampling
from training import data
from training.data import tokens

TOKENS = tokens.learn_characters(TEXTS)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers with one language model."""
    root: Path = tmp_path_factory.mktemp("writer-models")
    text_models.write(root, "letters", TOKENS)
    folder = tmp_path_factory.mktemp("writer")
    with running(folder, models_dir=str(root), workers="2", max_steps="500") as started:
        yield started


@pytest.fixture
def client(writer: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=writer.url, timeout=30) as opened:
        yield opened


def generate(client: httpx.Client, prompt: Any = "the cat ", **fields: Any) -> dict[str, Any]:
    response = client.post("/generate", json={"prompt": prompt, "max_steps": 25, "seed": 1} | fields)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def predict(client: httpx.Client, **sequence: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"sequences": [sequence]})
    assert response.status_code == 200, response.text
    prediction: dict[str, Any] = response.json()["predictions"][0]
    return prediction


def test_the_same_seed_gives_the_same_text_and_another_seed_another(client: httpx.Client) -> None:
    first = generate(client)
    assert generate(client) == first
    assert len(first["ids"]) == 25 and "".join(first["tokens"]) == first["text"]
    assert generate(client, seed=2)["text"] != first["text"]
    unseeded = generate(client, seed=None)
    assert generate(client, seed=unseeded["seed"])["text"] == unseeded["text"]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, 4), (0.0, None)])
def test_the_tokens_are_those_that_torch_generates(
    client: httpx.Client, temperature: float, top_k: int | None
) -> None:
    network, _ = text_models.language(TOKENS)
    prompt = [int(step) for step in tokens.read(TOKENS, "the cat ")[:, 0]]
    expected = sampling.generate(network, prompt, steps=25, temperature=temperature, top_k=top_k, seed=1)
    assert generate(client, temperature=temperature, top_k=top_k)["ids"] == expected
    assert generate(client, prompt, temperature=temperature, top_k=top_k)["ids"] == expected


def test_temperature_0_gives_the_labels_of_predict(client: httpx.Client) -> None:
    text = "the cat "
    for token in generate(client, text, temperature=0, max_steps=6)["tokens"]:
        assert predict(client, text=text)["label"] == token
        text += token


def test_the_state_of_a_session_includes_the_generated_tokens_bit_for_bit(client: httpx.Client) -> None:
    reply = generate(client, session="story", at=0)
    assert reply["step"] == len("the cat ") + 25
    assert generate(client, session="story", at=0) == reply  # a retry: the stored reply
    one_shot = predict(client, text="the cat " + reply["text"] + "sat")
    assert predict(client, text="sat", session="story", at=reply["step"])["output"] == one_shot["output"]
    assert client.get("/sessions/story").json()["step"] == reply["step"] + 3


def test_a_retry_without_a_seed_gets_the_first_text(client: httpx.Client) -> None:
    first = generate(client, session="unseeded", at=0, seed=None)
    assert generate(client, session="unseeded", at=0, seed=None) == first
    other = {"prompt": "the dog ", "session": "unseeded", "at": 0}
    response = client.post("/generate", json=other)
    assert (response.status_code, response.json()["code"]) == (409, "session_conflict")
    assert response.json()["step"] == first["step"]


def test_a_session_survives_a_restart_and_continues_with_the_same_text(
    client: httpx.Client, writer: Server
) -> None:
    generate(client, session="a", max_steps=5)
    generate(client, session="b", max_steps=5)
    writer.kill()
    writer.start()
    with httpx.Client(base_url=writer.url, timeout=30) as again:
        after = generate(again, "sat ", session="a", seed=7)
        assert generate(again, "sat ", session="b", seed=7)["text"] == after["text"]
        assert after["step"] == len("the cat ") + 5 + len("sat ") + 25


def test_generation_ends_at_a_stop_token(client: httpx.Client) -> None:
    long = generate(client, max_steps=200)["tokens"]
    short = generate(client, max_steps=200, stop=["t", " "])["tokens"]
    assert short == long[: len(short)]
    assert short[-1] in "t " and not set(short[:-1]) & {"t", " "}


def test_concurrent_requests_get_the_same_text_as_single_ones(client: httpx.Client) -> None:
    def text_of(seed: int) -> str:
        text: str = generate(client, seed=seed)["text"]
        return text

    alone = [text_of(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(text_of, range(8))) == alone


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"prompt": "the Z"}, "invalid_field", "/prompt"),
        ({"prompt": ["t", "Z"]}, "invalid_field", "/prompt/1"),
        ({"prompt": [0, 99]}, "invalid_field", "/prompt/1"),
        ({"prompt": [0, 1.5]}, "invalid_field", "/prompt/1"),
        ({"prompt": ""}, "invalid_field", "/prompt"),
        ({"prompt": []}, "invalid_field", "/prompt"),
        ({}, "invalid_field", "/prompt"),
        ({"prompt": "t", "temperature": -1}, "invalid_field", "/temperature"),
        ({"prompt": "t", "top_k": 0}, "invalid_field", "/top_k"),
        ({"prompt": "t", "max_steps": 0}, "invalid_field", "/max_steps"),
        ({"prompt": "t", "max_steps": 500}, "sequence_too_long", "/max_steps"),
        ({"prompt": "t", "seed": "x"}, "invalid_field", "/seed"),
        ({"prompt": "t", "stop": ["t", "Z"]}, "invalid_field", "/stop/1"),
        ({"prompt": "t", "heat": 1}, "invalid_field", "/heat"),
        ({"prompt": "t", "at": 0}, "invalid_field", ""),
        ({"prompt": "t", "model": "no"}, "unknown_model", "/model"),
    ],
)
def test_an_invalid_body_is_refused_with_a_pointer(
    client: httpx.Client, body: dict[str, Any], code: str, pointer: str
) -> None:
    response = client.post("/generate", json=body)
    problem = response.json()
    assert (problem["code"], problem.get("pointer")) == (code, pointer), problem
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_not_json_is_refused(client: httpx.Client) -> None:
    response = client.post("/generate", content=b"{", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")


def test_a_model_of_another_task_is_refused(server: Server) -> None:
    response = httpx.post(f"{server.url}/generate", json={"prompt": [1]}, timeout=60)
    assert (response.status_code, response.json()["code"]) == (422, "generation_not_supported")
    assert "classify" in response.json()["detail"]
    assert "/generate" in httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]


def test_a_generation_past_its_deadline_leaves_the_session_unchanged(writer: Server, tmp_path: Path) -> None:
    models = writer.settings["CELLGATE_MODELS_DIR"]
    with (
        running(tmp_path, models_dir=models, request_timeout_s="0.005") as hurried,
        httpx.Client(base_url=hurried.url, timeout=30) as client,
    ):
        body = {"prompt": "the cat ", "max_steps": 5000, "session": "late"}
        response = client.post("/generate", json=body)
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
        assert client.get("/sessions/late").status_code == 404
        assert client.get("/health/ready").status_code == 200


def test_a_model_of_subwords_is_served_with_text(tmp_path: Path) -> None:
    """Text → tokenizer learnt from the training part → manifest → server: pieces give the whole's output."""
    if shutil.which("npm") is None:
        pytest.skip("moby is in an npm package, and npm is not installed")
    [source] = data.load("moby_subwords").inputs
    [spec] = text_models.write(tmp_path / "models", "moby_subwords", source).inputs
    assert (spec.vocabulary, spec.tokenizer) == (source.vocabulary, source.tokenizer)
    pieces = ("Call", " me Ishmael.", " Some years ago", " — never mind")
    with (
        running(tmp_path, models_dir=str(tmp_path / "models")) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        whole = predict(client, text="".join(pieces))
        for piece in pieces:
            last = predict(client, text=piece, session="pieces")
        assert last["output"] == whole["output"]
        assert last["step"] == len(tokens.read(source, "".join(pieces))) < len("".join(pieces))
        assert predict(client, text="Zürich 東京")["label"] in source.vocabulary
        first = generate(client, "Call me", max_steps=10)
        assert generate(client, "Call me", max_steps=10) == first
        assert predict(client, text="Call me", session="own")["step"] == len(tokens.read(source, "Call me"))
