"""A model of several labels through every way to an answer: the same labels everywhere."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from cellgate import AsyncClient, Client, Label
from tests.e2e import graphs
from tests.e2e.server import Server, running
from tests.service.cli.command import run

STEPS = [[1.0, -1.0], [1.0, 4.0], [-9.0, 0.0]]  # the sums: wind 1, 2, -7; rain -1, 3, 3
SETS = [["wind"], ["rain", "wind"], ["rain"]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    everything, root = tmp_path_factory.mktemp("graphs"), tmp_path_factory.mktemp("models")
    graphs.write_all(everything)
    (everything / "weather").rename(root / "weather")
    return root


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("labels"), models_dir=str(root)) as started:
        yield started


def names(labels: list[dict[str, Any]]) -> list[str]:
    return [one["label"] for one in labels]


def test_replies_sessions_and_events_name_the_labels(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as http:

        def ask(sequence: Any, **fields: Any) -> dict[str, Any]:
            reply = http.post("/predict", json={"sequences": [sequence], **fields})
            assert reply.status_code == 200, reply.text
            prediction: dict[str, Any] = reply.json()["predictions"][0]
            return prediction

        last = ask(STEPS)
        assert names(last["labels"]) == SETS[-1]
        assert [one["probability"] for one in last["labels"]] == [last["output"][1]]
        every = ask(STEPS, **{"return": "all"})
        assert [names(step) for step in every["labels"]] == SETS
        for at, (step, found) in enumerate(zip(STEPS, SETS, strict=True)):
            part = {"steps": [step], "session": "labels", "at": at}
            answer = ask(part)
            assert names(answer["labels"]) == found and ask(part) == answer  # a retry: the stored reply
        exported = http.get("/sessions/labels/export").content
        assert http.put("/sessions/labels/import?replace=true", content=exported).is_success
        assert ask(part) == answer  # the imported reply
        events = http.post(
            "/predict",
            json={"sequences": [STEPS], "return": "all"},
            headers={"accept": "text/event-stream"},
        ).text
        first = json.loads(events.split("data: ")[1].splitlines()[0])
        assert [names(step) for step in first["labels"]] == SETS[: len(first["labels"])]
        (output,) = http.get("/models/weather").json()["models"][0]["outputs"]
        assert (output["kind"], output["labels"], output["thresholds"]) == (
            "labels",
            ["wind", "rain"],
            [0.5, 0.6],
        )


def test_v2_ranks_the_labels(server: Server) -> None:
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3, 2], "data": [STEPS]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    }
    reply = httpx.post(f"{server.url}/v2/models/weather/infer", json=body)
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    ranked = [text.split(":")[2] for text in output["data"]]
    assert output["shape"] == [1, 3, 2] and ranked == ["wind", "rain", "rain", "wind", "rain", "wind"]


def test_the_clients_and_streams_name_the_labels(server: Server) -> None:
    with Client(server.url) as client:
        last = client.predict_one(STEPS)
        assert last.label_set is not None and [one.name for one in last.label_set] == SETS[-1]
        assert isinstance(last.label_set[0], Label) and "rain" in repr(last)
        every = client.predict_one(STEPS, returns="all")
        assert [[one.name for one in step or ()] for step in every.label_sets or ()] == SETS
        with client.stream("streamed") as stream:
            assert [[one.name for one in stream.step([row]).label_set or ()] for row in STEPS] == SETS

    async def body() -> None:
        async with AsyncClient(server.url) as client:
            assert (await client.predict_one(STEPS)).label_set == last.label_set

    asyncio.run(body())


def test_a_file_is_answered_with_labels(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    source.write_text(json.dumps({"id": "a", "steps": STEPS}) + "\n")
    command = ["predict", str(root / "weather" / "1"), str(source), "--jobs", "1", "--return", "all", "-o"]
    for suffix in ("csv", "ndjson"):
        done = run(*command, str(tmp_path / f"out.{suffix}"))
        assert done.exit_code == 0, done.output
    table = pl.read_csv(tmp_path / "out.csv")
    assert table.columns[:5] == ["id", "step", "labels", "output_wind", "output_rain"]
    assert table["labels"].to_list() == [";".join(names) for names in SETS]
    line = json.loads((tmp_path / "out.ndjson").read_text())
    assert [names(step) for step in line["labels"]] == SETS
