"""A table with static, known and calendar columns, from a file to a server: pieces equal one shot."""

import json
import math
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from click.testing import CliRunner
from websockets.sync.client import connect

from cellgate import Client
from service.manifest import Manifest
from tests.e2e.server import Server, running
from tests.service.cli.command import run
from training.__main__ import main
from training.export.run import export_run
from training.run import read

STEPS, HORIZON = 24, 2
LAST = STEPS - HORIZON
ROWS = [
    {
        "site": f"s{site}", "depth": site / 2, "region": ("north", "south")[site % 2],
        "at": (datetime(2024, 10, 25) + timedelta(hours=6 * step)).isoformat(),
        "level": round(step * step % 11 + site / 3, 2), "rain": float((step + site) % 4),
        "sky": ("rain", "sun")[step % 3 % 2],
    }
    for site in range(12) for step in range(STEPS)
]  # fmt: skip
OPTIONS = (
    "--id-column site --time-column at --time-zone Europe/Berlin --target level --horizon 1 --horizon 2 "
    "--known rain --static depth --static region --calendar hour,weekday --hidden 4 --epochs 1"
)


class Lake:
    """A trained model, its data and its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "lake.csv"
        pl.DataFrame(ROWS).write_csv(self.file)
        words = ["train", "--data", str(self.file), *OPTIONS.split(), "--out", str(folder / "run")]
        done = CliRunner().invoke(main, words, env={"COLUMNS": "200"}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        self.output = done.output
        self.version = folder / "models" / "lake" / "1"
        self.manifest: Manifest = export_run(read(folder / "run"), self.version)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def server(lake: Lake) -> Iterator[Server]:
    with running(lake.folder, models_dir=str(lake.folder / "models")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


def records(site: int) -> list[dict[str, Any]]:
    return [row.copy() for row in ROWS if row["site"] == f"s{site}"]


def parts(site: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The steps of a site, and what is known of those after them."""
    every = records(site)
    future = [{"rain": record["rain"]} for record in every]
    return every[:LAST], future


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def predict(client: httpx.Client, steps: list[Any], **fields: Any) -> httpx.Response:
    return client.post("/predict", json={"sequences": [{"steps": steps} | fields]})


def output(reply: httpx.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    numbers: list[float] = reply.json()["predictions"][0]["output"]
    return numbers


def test_each_kind_of_column_has_an_input(lake: Lake) -> None:
    inputs = {spec.name: (spec.per, spec.features) for spec in lake.manifest.inputs}
    waves = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    assert inputs == {
        "numbers": ("step", ("level", "rain", "since_previous", *waves)), "sky": ("step", ()),
        "region": ("sequence", ()),
        "static": ("sequence", ("depth",)),
        "known": ("step", ("rain+1", "rain+2", *(f"{wave}+{steps}" for steps in (1, 2) for wave in waves))),
    }  # fmt: skip
    assert (
        "number, known ahead" in lake.output
        and "number, static" in lake.output
        and "category, static" in lake.output
    )


def test_pieces_without_static_columns_equal_one_shot_wherever_the_state_goes(
    client: httpx.Client, session: str
) -> None:
    steps, future = parts(3)
    whole = output(predict(client, steps + future[LAST:]))
    later = [without(step, "depth", "region", "site") for step in steps]
    first = steps[:5] + future[5 : 5 + HORIZON]
    output(predict(client, first, session=session, at=0))
    exported = client.get(f"/sessions/{session}/export").content
    assert client.put(f"/sessions/{session}-copy/import", content=exported).status_code in (200, 201)
    assert client.post(f"/sessions/{session}/fork", json={"to": f"{session}-fork"}).status_code == 201
    body = {"sequences": [{"steps": first}], "return_state": True}
    token = client.post("/predict", json=body)
    state = token.json()["predictions"][0]["state"]
    for where in ({"session": session}, {"session": f"{session}-copy"}, {"session": f"{session}-fork"}):
        for at in range(5, LAST, 7):
            piece = later[at : at + 7]
            behind = at + len(piece)
            last = predict(client, piece + future[behind : behind + HORIZON], at=at, **where)
        assert output(last) == whole
    assert output(predict(client, later[5:] + future[LAST:], state=state)) == whole


def test_a_static_value_that_changes_is_refused_and_nothing_is_applied(
    client: httpx.Client, session: str
) -> None:
    steps, future = parts(1)
    third = [steps[2], *future[3:5]]
    output(predict(client, steps[:2] + future[2:4], session=session))
    reply = predict(client, [steps[2] | {"depth": 9}, *future[3:5]], session=session)
    assert reply.status_code == 422 and "the static column 'depth' differs" in reply.json()["detail"]
    assert output(predict(client, third, session=session, at=2)) == output(
        predict(client, [*steps[:2], *third])
    )
    begun = predict(client, [without(steps[0], "region", "depth"), *future[1:3]])
    assert begun.status_code == 422 and "the static column 'region' is missing" in begun.json()["detail"]


def test_a_stream_is_one_shot_and_what_is_not_known_is_an_error_of_its_frame(
    server: Server, client: httpx.Client, session: str
) -> None:
    steps, future = parts(5)
    with connect(f"{server.url.replace('http', 'ws')}/stream") as socket:
        socket.send(json.dumps({"model": "lake", "session": session}))
        socket.recv()
        for at in range(3):
            socket.send(json.dumps({"steps": [steps[at]]}))
            socket.send(json.dumps({"steps": [steps[at], *future[at + 1 : at + 3]]}))
        replies = [json.loads(socket.recv()) for _ in range(6)]
    assert "the forecasts need 'rain' up to 2 steps after" in replies[0]["error"]["detail"]
    assert replies[-1]["step"] == 3
    assert replies[-1]["output"] == output(predict(client, steps[:3] + future[3:5]))


def test_a_forecast_of_records_is_the_loop_that_a_client_would_write(
    client: httpx.Client, session: str
) -> None:
    """Without times, each step follows at the usual distance; the calendar and `since_previous` too."""
    steps, future = parts(4)
    output(predict(client, steps[:2] + future[2:4], session=session))
    assert client.post(f"/sessions/{session}/fork", json={"to": f"{session}-loop"}).status_code == 201
    ahead = [{"rain": 1 + step, "sky": "sun"} for step in range(4)]
    reply = client.post(f"/sessions/{session}/forecast", json={"horizon": 2, "inputs": ahead})
    assert reply.status_code == 200, reply.text
    [forecast] = reply.json()["forecasts"]
    timed = [record | {"at": steps[2 + place]["at"]} for place, record in enumerate(ahead)]
    again = client.post(f"/sessions/{session}/forecast", json={"horizon": 2, "inputs": timed})
    assert again.json() == reply.json()
    for place, level in enumerate(forecast["values"]["level"]):
        record = timed[place] | {"level": level}
        later = [{"rain": one["rain"]} for one in ahead[place + 1 : place + 3]]
        looped = predict(client, [record, *later], session=f"{session}-loop")
        assert output(looped) == forecast["output"][place]


def test_the_client_counts_no_records_of_the_future_as_steps(
    server: Server, client: httpx.Client, session: str
) -> None:
    """With several frames in flight, the step of the next one was off by those records."""
    steps, future = parts(6)
    frames = [steps[at : at + 2] + future[at + 2 : at + 4] for at in range(0, 8, 2)]
    whole = output(predict(client, steps[:8] + future[8:10]))
    with Client(server.url) as python, python.stream(session, model="lake", in_flight=4) as stream:
        assert [prediction.step for prediction in stream.run(frames)] == [2, 4, 6, 8]
    with Client(server.url) as python:
        ours = python.session(f"{session}-http", model="lake")
        last = [ours.step(frame) for frame in frames][-1]
    assert (ours.at, last.output.tolist()) == (8, pl.Series(whole, dtype=pl.Float32).to_list())


@pytest.mark.parametrize(
    ("inputs", "pointer", "detail"),
    [
        ([{"rain": 1}], "/inputs", "1 records, but the horizon is 2"),
        ([{"rain": 1}, {"rain": 2}, {"rain": 3}], "/inputs", "the forecasts need 'rain' up to 2 steps after"),
        ([{"rain": 1}, {}, {"rain": 3}, {"rain": 4}], "/inputs/1", "no value of 'rain'"),
        ([{}, {"rain": 2}, {"rain": 3}, {"rain": 4}], "/inputs/0/rain", "null: this model takes no missing"),
        ([{"rain": 1, "at": "noon"}, *[{"rain": 2}] * 3], "/inputs/1", "expected a time (ISO 8601) in 'at'"),
        ([{"rain": 1, "fog": 2}, *[{"rain": 2}] * 3], "/inputs/0/fog", "the table has no column 'fog'"),
    ],
)
def test_a_forecast_without_what_it_needs_is_refused(
    client: httpx.Client, session: str, inputs: list[Any], pointer: str, detail: str
) -> None:
    steps, future = parts(4)
    output(predict(client, steps[:2] + future[2:4], session=session))
    reply = client.post(f"/sessions/{session}/forecast", json={"horizon": 2, "inputs": inputs})
    assert reply.status_code == 422, reply.text
    assert reply.json()["pointer"] == pointer and reply.json()["detail"].startswith(detail)


def test_rows_and_records_give_the_same_bits(client: httpx.Client) -> None:
    """A client of rows sends what the server computes from records."""
    record, (rain, later) = records(2)[0], [1.5, 2.5]
    by_name = predict(client, [record, {"rain": rain}, {"rain": later}])
    waves = waves_of(datetime.fromisoformat(record["at"]), HORIZON)
    rows = {
        "numbers": [[record["level"], record["rain"], 0, *waves[0]]], "sky": [record["sky"]],
        "region": record["region"], "static": [record["depth"]],
        "known": [[rain, later, *waves[1], *waves[2]]],
    }  # fmt: skip
    assert output(predict(client, rows)) == output(by_name)  # type: ignore[arg-type]
    refused = predict(client, without(rows, "known"))  # type: ignore[arg-type]
    assert refused.status_code == 422 and "'known'" in refused.json()["detail"]


def waves_of(shown: datetime, steps: int) -> list[list[float]]:
    """The features of the hour and the weekday at a time, and at the steps after it."""
    rows = []
    for step in range(steps + 1):
        at = shown + timedelta(hours=6 * step)
        phases = (at.hour / 24, at.weekday() / 7)
        rows.append([wave(2 * math.pi * one) for one in phases for wave in (math.sin, math.cos)])
    return rows


def test_a_file_and_the_scores_of_the_server_are_those_of_the_run(
    lake: Lake, client: httpx.Client, server: Server
) -> None:
    file = lake.folder / "future.csv"
    is_future = pl.int_range(pl.len()).over("site") >= LAST
    level = pl.when(~is_future).then("level").alias("level")
    pl.DataFrame(ROWS).with_columns(level).write_csv(file)
    for where in ([], ["--url", server.url]):
        out = lake.folder / "out.csv"
        out.unlink(missing_ok=True)
        options = ["-o", str(out), "--models-dir", str(lake.folder / "models"), "--jobs", "1", *where]
        done = run("predict", "lake", str(file), *options)
        assert done.exit_code == 0, done.output
        expected = output(predict(client, [*parts(7)[0], *parts(7)[1][LAST:]]))
        row = pl.read_csv(out).filter(pl.col("site") == "s7")
        names = [name for name in row.columns if name.startswith("level+")]
        assert row.select(names).cast(pl.Float32).rows() == [tuple(pl.Series(expected, dtype=pl.Float32))]
    words = ["evaluate", str(lake.folder / "run"), "--url", server.url, "--model", "lake"]
    ours, theirs = (
        CliRunner().invoke(main, words[:count], env=dict(os.environ), catch_exceptions=False).output
        for count in (2, 6)
    )
    scores = [line for line in ours.splitlines() if "error_level" in line]
    assert len(scores) == 1 and scores == [line for line in theirs.splitlines() if "error_level" in line]
