"""docs/own-data.md: its commands run in a new folder, up to the answers of a real server."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from service.manifest import Manifest
from tests.e2e.server import ROOT, Server, running

PAGE = (ROOT / "docs" / "own-data.md").read_text()
BLOCKS = re.findall(r"```(sh|)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
SHORT = " --epochs 2"
RUN_S = 400


def shell(command: str, folder: Path) -> str:
    """The output of a command."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = os.environ | {"PATH": path, "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=RUN_S
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


class Walk:
    """The folder where the page's commands ran, and their output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        get, train, serve, *_ = COMMANDS
        self.downloaded = shell(get, folder)
        self.trained = shell(train.rstrip() + SHORT, folder)
        assert serve == "cellgate serve --models-dir my-models\n"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    return Walk(tmp_path_factory.mktemp("own-data"))


@pytest.fixture(scope="module")
def parking(walk: Walk) -> Iterator[httpx.Client]:
    with running(walk.folder, models_dir=str(walk.folder / "my-models")) as server:
        yield from client_of(server)


def client_of(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


def post(client: httpx.Client, command: str) -> dict[str, Any]:
    """The prediction that a curl command gets."""
    curl, silent, where, dash_h, header, dash_d, body = shlex.split(command)
    assert (curl, silent, dash_h, dash_d) == ("curl", "-s", "-H", "-d")
    name, value = header.split(": ")
    reply = client.post(where.removeprefix("localhost:8000"), content=body, headers={name: value})
    assert reply.status_code == 200, reply.text
    [prediction] = reply.json()["predictions"]
    assert isinstance(prediction, dict)
    return prediction


def test_the_file_and_the_interpretation_of_its_columns_are_as_shown(walk: Walk) -> None:
    head, columns = (text for kind, text in BLOCKS if not kind and "SystemCodeNumber" in text)
    assert walk.downloaded.endswith(head)
    for line in columns.splitlines():
        assert line.removesuffix("…") in walk.trained
    assert "my-models/parking/1: exported" in walk.trained


def test_the_requests_are_answered_and_the_session_remembers(parking: httpx.Client) -> None:
    first, second = (command for command in COMMANDS if command.startswith("curl"))
    after_three, after_four = post(parking, first), post(parking, second)
    assert [*after_four["forecast"]["Occupancy"]] == ["+1", "+4"]
    assert [*after_four["forecast"]["Occupancy"]["+4"].values()] == after_four["output"][3:]
    assert (after_three["step"], after_four["step"]) == (3, 4)
    for prediction in (after_three, after_four):
        assert len(prediction["output"]) == 6
        assert prediction["output"][:3] == sorted(prediction["output"][:3])
    steps = [json.loads(shlex.split(command)[-1])["sequences"][0]["steps"] for command in (first, second)]
    whole = parking.post("/predict", json={"model": "parking", "sequences": [steps[0] + steps[1]]})
    assert whole.json()["predictions"][0]["output"] == after_four["output"]
    rows = [[61, 577, 0], [64, 577, 26], [80, 577, 34], [107, 577, 33 + 4 / 60]]
    by_row = parking.post("/predict", json={"model": "parking", "sequences": [rows]})
    assert by_row.json() == whole.json()
    [model] = parking.get("/models/parking").json()["models"]
    assert model["inputs"][0]["features"] == ["Occupancy", "Capacity", "since_previous"]
    assert model["inputs"][0]["units"] == ["", "", "min"]


def test_the_file_is_predicted_as_its_rows_are(walk: Walk, parking: httpx.Client) -> None:
    (command,) = (command for command in COMMANDS if command.startswith("cellgate predict"))
    shell(command.rstrip() + " --jobs 1", walk.folder)
    answers = pl.read_parquet(walk.folder / "forecasts.parquet")
    rows = pl.read_csv(walk.folder / "hourly_parking.csv")
    assert len(answers) == len(rows) and answers["error"].null_count() == len(rows)
    name = rows["SystemCodeNumber"][0]
    records = rows.filter(pl.col("SystemCodeNumber") == name).drop("SystemCodeNumber").to_dicts()
    reply = parking.post("/predict", json={"model": "parking", "sequences": [records], "return": "all"})
    expected = reply.json()["predictions"][0]["forecast"]["Occupancy"]["+4"]["q50"]
    ours = answers.filter(pl.col("SystemCodeNumber") == name)["Occupancy+4_q50"]
    assert ours.to_list() == pl.Series(expected, dtype=pl.Float32).to_list()


def test_a_run_is_evaluated_from_any_folder_and_names_its_versions(walk: Walk, tmp_path: Path) -> None:
    """The table's path was stored as a relative one, so evaluation worked in one folder only."""
    run = walk.folder / "runs" / "hourly_parking"
    assert "error_Occupancy_+1step" in shell(f"cellgate-train evaluate {run}", tmp_path)
    readme = (run / "README.md").read_text()
    assert f"--data {(walk.folder / 'hourly_parking.csv').resolve()} " in readme
    assert re.search(r"Made with python [\d.]+, torch [\d.]+", readme)
    provenance = Manifest.read(walk.folder / "my-models" / "parking" / "1").provenance
    assert provenance is not None
    assert "--data hourly_parking.csv --target" in provenance.command, (
        "a served model must not name local folders"
    )


ODD = (
    "type",
    "wind.dir",
    "steps",
    "time",
    "h",
    "y",
    "numbers",
    "lengths",
    "numbers_seen",
    "category_0",
    "a/b c",
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model whose columns have names of the graph's tensors, and names that torch refuses."""
    folder = tmp_path_factory.mktemp("odd")
    draw = random.Random(0)
    rows = [["id", "x", "since_previous", "when", *ODD]]
    for row in range(400):
        kinds = [draw.choice(["a", "b", ""]) for _ in ODD]
        numbers = [draw.choice(["", f"{draw.random():.3f}"]), f"{draw.random():.3f}", str(row + row % 3)]
        rows.append([str(row // 20), *numbers, *kinds])
    (folder / "odd.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    options = "--data odd.csv --id-column id --time-column when --target x --cell article --hidden 8"
    shell(f"cellgate-train train {options} --epochs 1 --export models/odd/1", folder)
    with running(folder, models_dir=str(folder / "models")) as server:
        yield from client_of(server)


def test_columns_of_any_name_are_served(odd: httpx.Client) -> None:
    [model] = odd.get("/models/odd").json()["models"]
    assert [spec["name"] for spec in model["inputs"]] == ["numbers_", *ODD]
    assert model["inputs"][0]["features"] == ["x", "since_previous", "since_previous_"]
    steps = {"numbers_": [[0.5, 0.1, 0], [None, 0.2, 3]]} | {name: ["a", "b"] for name in ODD}
    reply = odd.post("/predict", json={"model": "odd", "sequences": [steps_of(steps, 0, 2)]})
    assert reply.status_code == 200, reply.text
    for at in range(2):
        piece = steps_of(steps, at, at + 1) | {"session": "s", "at": at}
        last = odd.post("/predict", json={"model": "odd", "sequences": [piece]})
        assert last.status_code == 200, last.text
    assert last.json()["predictions"][0]["output"] == reply.json()["predictions"][0]["output"]


def steps_of(steps: dict[str, list[Any]], start: int, stop: int) -> dict[str, Any]:
    return {"steps": {name: values[start:stop] for name, values in steps.items()}}


def test_an_unseen_category_is_other_and_null_is_missing(odd: httpx.Client) -> None:
    """Both were refused, though the vocabulary has <other> and <missing>."""

    def output(text: str | None) -> Any:
        steps = {"numbers_": [[0.5, 0.1, 0]]} | {name: [text] for name in ODD}
        reply = odd.post("/predict", json={"model": "odd", "sequences": [{"steps": steps}]})
        assert reply.status_code == 200, reply.text
        return reply.json()["predictions"][0]["output"]

    assert output("of tomorrow") == output("<other>") != output("a")
    assert output(None) == output("<missing>") != output("<other>")
