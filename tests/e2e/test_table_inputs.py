"""A table with static columns and the calendar, from a file to a server: pieces give the bits of one shot."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from click.testing import CliRunner

from service.manifest import Manifest
from tests.e2e.server import Server, running
from tests.service.cli.command import run
from training.__main__ import main
from training.export.run import export_run
from training.run import read

STEPS = 24
ROWS = [
    {
        "site": f"s{site}", "depth": site / 2, "region": ("north", "south")[site % 2],
        "at": (datetime(2024, 10, 25) + timedelta(hours=6 * step)).isoformat(),
        "level": round(step * step % 11 + site / 3, 2), "sky": ("rain", "sun")[step % 3 % 2],
    }
    for site in range(12) for step in range(STEPS)
]  # fmt: skip
OPTIONS = (
    "--id-column site --time-column at --time-zone Europe/Berlin --target level --horizon 1 --horizon 2 "
    "--static depth --static region --calendar hour,weekday --hidden 4 --epochs 1"
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


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def predict(client: httpx.Client, steps: list[Any], **fields: Any) -> httpx.Response:
    return client.post("/predict", json={"sequences": [{"steps": steps} | fields]})


def output(reply: httpx.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    numbers: list[float] = reply.json()["predictions"][0]["output"]
    return numbers


def test_static_columns_are_inputs_of_the_sequence(lake: Lake) -> None:
    inputs = {spec.name: (spec.per, spec.features) for spec in lake.manifest.inputs}
    waves = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    assert inputs == {
        "numbers": ("step", ("level", "since_previous", *waves)), "sky": ("step", ()),
        "region": ("sequence", ()),
        "static": ("sequence", ("depth",)),
    }  # fmt: skip
    assert "number, static" in lake.output and "category, static" in lake.output


def test_pieces_without_static_columns_equal_one_shot_wherever_the_state_goes(
    client: httpx.Client, session: str
) -> None:
    steps = records(3)
    whole = output(predict(client, steps))
    later = [without(step, "depth", "region", "site") for step in steps]
    output(predict(client, steps[:5], session=session, at=0))
    exported = client.get(f"/sessions/{session}/export").content
    assert client.put(f"/sessions/{session}-copy/import", content=exported).status_code in (200, 201)
    assert client.post(f"/sessions/{session}/fork", json={"to": f"{session}-fork"}).status_code == 201
    body = {"sequences": [{"steps": steps[:5]}], "return_state": True}
    token = client.post("/predict", json=body)
    state = token.json()["predictions"][0]["state"]
    for where in ({"session": session}, {"session": f"{session}-copy"}, {"session": f"{session}-fork"}):
        for at in range(5, STEPS, 7):
            last = predict(client, later[at : at + 7], at=at, **where)
        assert output(last) == whole
    assert output(predict(client, later[5:], state=state)) == whole


def test_a_static_value_that_changes_is_refused_and_nothing_is_applied(
    client: httpx.Client, session: str
) -> None:
    steps = records(1)
    output(predict(client, steps[:2], session=session))
    reply = predict(client, [steps[2] | {"depth": 9}], session=session)
    assert reply.status_code == 422 and "the static column 'depth' differs" in reply.json()["detail"]
    assert output(predict(client, [steps[2]], session=session, at=2)) == output(predict(client, steps[:3]))
    begun = predict(client, [without(steps[0], "region", "depth")])
    assert begun.status_code == 422 and "the static column 'region' is missing" in begun.json()["detail"]


def test_a_file_and_the_scores_of_the_server_are_those_of_the_run(
    lake: Lake, client: httpx.Client, server: Server
) -> None:
    for where in ([], ["--url", server.url]):
        out = lake.folder / "out.csv"
        options = ["-o", str(out), "--models-dir", str(lake.folder / "models"), "--jobs", "1", *where]
        done = run("predict", "lake", str(lake.file), *options)
        assert done.exit_code == 0, done.output
        expected = output(predict(client, records(7)))
        row = pl.read_csv(out).filter(pl.col("site") == "s7")
        names = [name for name in row.columns if name.startswith("level+")]
        assert row.select(names).cast(pl.Float32).rows() == [tuple(pl.Series(expected, dtype=pl.Float32))]
        out.unlink()
    words = ["evaluate", str(lake.folder / "run"), "--url", server.url, "--model", "lake"]
    ours, theirs = (
        CliRunner().invoke(main, words[:count], env=dict(os.environ), catch_exceptions=False).output
        for count in (2, 6)
    )
    scores = [line for line in ours.splitlines() if "error_level" in line]
    assert len(scores) == 1 and scores == [line for line in theirs.splitlines() if "error_level" in line]
