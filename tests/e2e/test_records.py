"""Steps by name on a real server: the time since the previous step goes wherever the state goes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from websockets.sync.client import connect

from cellgate import Client
from tests.e2e.server import Server, running
from tests.service import oven_model
from tests.service.cli.command import run

RUN = 2000  # what the mode "run" adds


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oven-models")
    oven_model.write(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("oven"), models_dir=str(models)) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


def at(minute: int, temperature: float = 1, **fields: Any) -> dict[str, Any]:
    """A record."""
    time = f"2026-01-01T{minute // 60:02}:{minute % 60:02}"
    return {"temperature": temperature, "mode": "run", "at": time} | fields


def predict(client: httpx.Client, steps: list[Any], **fields: Any) -> httpx.Response:
    body = {"sequences": [{"steps": steps} | fields]}
    return client.post("/predict", json=body)


def sums(response: httpx.Response) -> list[float]:
    """The sums of temperatures and of minutes after the last step."""
    assert response.status_code == 200, response.text
    return [number - RUN for number in response.json()["predictions"][0]["output"]]


def problem(response: httpx.Response) -> tuple[str, str]:
    assert response.status_code == 422, response.text
    return response.json()["pointer"], response.json()["detail"]


def test_a_request_of_records_is_one_of_rows_with_names_in_the_answer(client: httpx.Client) -> None:
    records = [at(0, 40), at(5, 41, note="ignored", oven="a"), at(65, 42)]
    records[0]["oven"] = records[2]["oven"] = "a"
    numbers = [[40, 0], [41, 5], [42, 60]]
    rows = {"numbers": numbers, "mode": ["run"] * 3}
    by_name, by_row = (client.post("/predict", json={"sequences": [{"steps": steps}], "return": "all"})
                       for steps in (records, rows))  # fmt: skip
    assert by_name.json() == by_row.json()
    prediction = by_name.json()["predictions"][0]
    assert prediction["output"][-1] == [123 + RUN, 65 + RUN]
    column = np.array(prediction["output"]).T.tolist()
    assert prediction["forecast"] == {"temperature": {"+6": {"q5": column[0], "q50": column[1]}}}
    last = predict(client, records).json()["predictions"][0]
    assert last["forecast"] == {"temperature": {"+6": {"q5": 123 + RUN, "q50": 65 + RUN}}}


def test_a_session_keeps_the_time_of_its_last_step(client: httpx.Client, session: str) -> None:
    assert sums(predict(client, [at(0), at(10)], session=session, at=0)) == [2, 10]
    second = predict(client, [at(25)], session=session, at=2)
    assert sums(second) == [3, 25]
    assert predict(client, [at(25)], session=session, at=2).content == second.content  # a retry
    assert predict(client, [at(26)], session=session, at=2).status_code == 409  # another request
    assert problem(predict(client, [at(30), at(20)], session=session, at=3))[0] == "/sequences/0/steps/1/at"
    pointer, detail = problem(predict(client, [at(20)], session=session, at=3))
    assert pointer == "/sequences/0/steps/0/at" and "before the time of the step before" in detail
    assert sums(predict(client, [at(30)], session=session, at=3)) == [4, 30]  # nothing was applied


def test_the_time_goes_wherever_the_state_goes(client: httpx.Client, session: str) -> None:
    path = f"/sessions/{session}"
    assert client.put(path, json={"model": "oven", "history": {"last": 4}}).status_code == 201
    sums(predict(client, [at(0), at(10)], session=session))
    sums(predict(client, [at(40)], session=session))
    assert client.post(f"{path}/fork", json={"to": f"{session}-fork"}).status_code == 201
    exported = client.get(f"{path}/export").content
    assert client.put(f"{path}-copy/import", content=exported).status_code in (200, 201)
    assert sums(predict(client, [at(60)], session=f"{session}-fork")) == [4, 60]
    assert sums(predict(client, [at(61)], session=f"{session}-copy")) == [4, 61]
    assert client.post(f"{path}/rewind", json={"step": 2}).status_code == 200
    assert sums(predict(client, [at(30)], session=session)) == [3, 30]
    token = client.post("/predict", json={"sequences": [[at(0), at(7)]], "return_state": True})
    state = token.json()["predictions"][0]["state"]
    assert sums(predict(client, [at(9)], state=state)) == [3, 9]


def test_rows_and_records_in_one_session_never_guess_a_time(client: httpx.Client, session: str) -> None:
    row = {"numbers": [[1, 5]], "mode": ["run"]}
    assert sums(predict(client, [at(0)], session=session)) == [1, 0]
    body = {"sequences": [{"steps": row, "session": session}]}
    assert client.post("/predict", json=body).status_code == 200
    pointer, detail = problem(predict(client, [at(20)], session=session))
    assert pointer == "/sequences/0/steps/0" and "without a time" in detail


def test_a_stream_of_records_is_the_session_in_one_request(server: Server, session: str) -> None:
    with connect(f"{server.url.replace('http', 'ws')}/stream") as socket:
        socket.send(json.dumps({"model": "oven", "session": session}))
        socket.recv()
        frames: list[list[Any]] = [[at(0)], [at(10), at(11)], [at(5)], [at(12)]]
        for frame in frames:
            socket.send(json.dumps({"steps": frame}))
        replies = [json.loads(socket.recv()) for _ in frames]
    assert [reply.get("step") for reply in replies] == [1, 3, None, 4]
    assert replies[2]["error"]["pointer"] == "/steps/0/at"
    assert replies[3]["output"] == [4 + RUN, 12 + RUN]
    assert replies[3]["forecast"]["temperature"]["+6"]["q50"] == 12 + RUN


def test_events_of_records_are_those_of_rows(client: httpx.Client) -> None:
    body = {"sequences": [[at(0), at(3)]], "return": "all"}
    reply = client.post("/predict", json=body, headers={"accept": "text/event-stream"})
    assert f'"q50":{[RUN, RUN + 3]}'.replace(" ", "") in reply.text.replace(".0", "")


def test_the_client_takes_records_and_the_file_has_the_same_answers(
    server: Server, models: Path, tmp_path: Path
) -> None:
    records = {"a": [at(0, 40), at(5, 41)], "b": [at(7, 10, mode=7)], "c": [at(9), at(8)]}
    with Client(server.url) as client:
        expected = {name: client.predict_one(records[name], model="oven").output for name in ("a", "b")}
    assert expected["a"].tolist() == [81 + RUN, 5 + RUN] and expected["b"].tolist() == [3010, 3000]
    rows = [
        {"oven": name, **record, "mode": str(record["mode"])} for name in records for record in records[name]
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "in.csv")
    pl.DataFrame(rows).with_columns(pl.col("at").str.to_datetime()).write_parquet(tmp_path / "in.parquet")
    lines = [json.dumps({"id": name, "steps": records[name]}) for name in records]
    (tmp_path / "in.ndjson").write_text("\n".join(lines))
    for suffix, where in (("csv", []), ("parquet", []), ("ndjson", []), ("csv", ["--url", server.url])):
        output = tmp_path / f"{suffix}{len(where)}.csv"
        options = ["-o", str(output), "--models-dir", str(models), "--jobs", "1", *where]
        done = run("predict", "oven", str(tmp_path / f"in.{suffix}"), *options)
        assert done.exit_code == 0, done.output
        answers = pl.read_csv(output)
        assert answers.get_columns()[0].to_list() == ["a", "b", "c"]
        got = answers.select("temperature+6_q5", "temperature+6_q50").rows()
        assert got == [tuple(expected["a"].tolist()), tuple(expected["b"].tolist()), (None, None)]
        assert "/steps/1/at: '2026-01-01T00:08" in answers["error"].to_list()[2]
