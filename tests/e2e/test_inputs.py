"""Every example of docs/inputs.md on a real server; pieces and other rows of a batch change no bit."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource

from tests.e2e import graphs
from tests.e2e.server import ROOT, Server, running
from tests.service import input_models
from tests.service.events import joined
from tests.service.input_models import NUMBERS, WORDS

PAGE = (ROOT / "docs" / "inputs.md").read_text()
BLOCK = re.compile(r"```(console|json)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"\$ curl -s localhost:8000(/\w+) --json '(.*)'")


def examples() -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Route, body, and the problem that the page shows as its reply, if any."""
    blocks = BLOCK.findall(PAGE)
    for (kind, text), (after, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "console":
            lines = text.strip().splitlines()
            for line in lines:
                command = COMMAND.fullmatch(line)
                assert command, line
                yield *command.groups(), json.loads(shown) if after == "json" else None  # type: ignore[misc]


JSON = {"content-type": "application/json"}
EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model of each kind."""
    root: Path = tmp_path_factory.mktemp("kinds-models")
    input_models.write_all(root)
    graphs.write_all(root)
    with running(tmp_path_factory.mktemp("kinds"), models_dir=str(root)) as started:
        yield started


@pytest.fixture
def client(kinds: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=kinds.url, timeout=30) as opened:
        yield opened


def test_every_example_of_the_page_is_answered_as_shown(client: httpx.Client) -> None:
    assert len(EXAMPLES) > 15
    models = set()
    for route, body, problem in EXAMPLES:
        models.add(json.loads(body)["model"])
        response = client.post(route, content=body, headers={"content-type": "application/json"})
        if problem is not None:
            assert response.json() == problem
            assert response.status_code == problem["status"]
        else:
            assert response.status_code == 200, (body, response.text)
            assert "error" not in response.text
    assert {*NUMBERS, *WORDS, "buttons", "look", "scalar", "voice", "week"} == models


def test_every_kind_is_answered_in_events_as_without(client: httpx.Client) -> None:
    num_events = 0
    for route, text, problem in EXAMPLES:
        body = json.loads(text)
        if problem is not None or len(body.get("sequences", [0])) > 1:
            continue
        body |= {"seed": 1} if route == "/generate" else {"return": "all"}
        for sequence in body.get("sequences", ()):
            if isinstance(sequence, dict):
                sequence.pop("session", None)
        expected = client.post(route, json=body)
        with client.stream("POST", route, json=body, headers={"Accept": "text/event-stream"}) as response:
            assert response.status_code == expected.status_code, response.read()
            if expected.status_code == 200:
                events = [(event.event, event.data.encode()) for event in EventSource(response).iter_sse()]
                assert joined(events) == expected.json()
                num_events += len(events)
    assert num_events > 30


def cut(steps: Any, start: int, stop: int) -> Any:
    if isinstance(steps, dict):
        return {name: rows[start:stop] for name, rows in steps.items()}
    return steps[start:stop]


def predict(client: httpx.Client, model: str, *sequences: dict[str, Any], **fields: Any) -> list[Any]:
    body = {"model": model, "sequences": sequences} | fields
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    predictions: list[Any] = response.json()["predictions"]
    return predictions


@pytest.mark.parametrize("model", [*NUMBERS, *WORDS])
def test_pieces_other_rows_and_padding_change_no_bit(client: httpx.Client, model: str) -> None:
    described = client.get(f"/models/{model}").json()["models"][0]
    steps = described["example"]["steps"]
    count = len(next(iter(steps.values())) if isinstance(steps, dict) else steps)
    whole = predict(client, model, {"steps": steps})[0]
    middle = max(1, count // 2)
    together = predict(client, model, {"steps": cut(steps, 0, middle)}, {"steps": steps})
    assert together[1] == whole
    for start, stop in ((0, middle), (middle, count)):
        if start < stop:
            last = predict(client, model, {"steps": cut(steps, start, stop), "session": f"s-{model}"})[0]
    assert last["output"] == whole["output"]
    assert last["step"] == count


@pytest.mark.parametrize("model", ["letters", "look", "buttons", "voice", "station"])
def test_a_large_body_is_answered_as_a_small_one(client: httpx.Client, model: str) -> None:
    """From 512 bytes on, a text in an object of inputs was answered 500, and rows of integers 422."""
    described = client.get(f"/models/{model}").json()["models"][0]
    steps = "the cat sat" if model == "letters" else described["example"]["steps"]
    named = steps if isinstance(steps, dict) else {described["inputs"][0]["name"]: steps}
    for sent in (steps, named):
        small = json.dumps({"model": model, "sequences": [{"steps": sent}]}).encode()
        bodies = (small, small + b" " * 600)
        replies = [client.post("/predict", content=body, headers=JSON) for body in bodies]
        assert [reply.status_code for reply in replies] == [200, 200], replies[1].text
        assert replies[0].content == replies[1].content


def test_trimmed_padding_does_not_change_the_answer(client: httpx.Client) -> None:
    steps = [[0.1, 9.8, 0.0], [0.3, 9.7, 0.1]]
    padded = {"steps": [*steps, [0, 0, 0], [0, 0, 0]]}
    bare = predict(client, "sensors", {"steps": steps})
    assert predict(client, "sensors", padded, trim_padding=True) == bare
    assert predict(client, "sensors", padded) != bare
