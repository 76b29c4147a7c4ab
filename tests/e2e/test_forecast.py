"""A network trained on a table forecasts a week ahead of its session, as the same loop by hand does."""

import csv
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import ROOT, running

PAGE = (ROOT / "docs" / "forecast.md").read_text()
JSON = {"content-type": "application/json"}
DAYS, WEEK = 400, 7
ROWS = [[round(2 + math.sin(day / 9) + 0.01 * (day % 5), 3), float(day % 5)] for day in range(DAYS)]


@pytest.fixture(scope="module")
def gauge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of a model of the daily level and rain of a river, trained for one epoch."""
    folder = tmp_path_factory.mktemp("gauge")
    train(folder)
    with (
        running(folder, models_dir=str(folder / "models"), workers="2") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def train(folder: Path) -> None:
    with (folder / "gauge.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("level", "rain"), *ROWS])
    command = ["train", "--data", "gauge.csv", "--target", "level", "--horizon", "1", "--horizon", "7"]
    options = ["--hidden", "8", "--epochs", "1", "--export", "models/gauge/1"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "training", *command, *options],
        cwd=folder, env=environ, check=True, capture_output=True,
    )  # fmt: skip


def forecast(client: httpx.Client, session: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"/sessions/{session}/forecast", json=body)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def test_a_week_ahead_of_a_year_equals_the_same_loop_by_hand(gauge: httpx.Client, session: str) -> None:
    year, ahead = ROWS[:365], ROWS[365 : 365 + WEEK]
    last = first(predict(gauge, year, session=session, at=0))["output"]
    known = [[None, rain] for _, rain in ahead]
    reply = forecast(gauge, session, horizon=WEEK, inputs=known)
    assert gauge.get(f"/sessions/{session}").json()["step"] == 365
    gauge.post(f"/sessions/{session}/fork", json={"to": "by-hand"})
    outputs, levels = [], []
    for _, rain in ahead:  # the quantiles of one step ahead come first; the middle one is the second
        levels.append(last[1])
        last = first(predict(gauge, [[last[1], rain]], session="by-hand"))["output"]
        outputs.append(last)
    [one] = reply["forecasts"]
    assert (one["output"], one["values"]) == (outputs, {"level": levels})
    assert forecast(gauge, session, horizon=WEEK, inputs=known) == reply


def test_the_example_of_the_page_is_answered_as_shown(gauge: httpx.Client) -> None:
    day, week = re.findall(r"curl -s localhost:8000(\S+) .*? -d '(.*?)'", PAGE, re.DOTALL)
    first(predict(gauge, ROWS[:365], session="gauge-7", at=0))
    assert gauge.post(day[0], content=day[1], headers=JSON).json()["predictions"][0]["step"] == 366
    reply = gauge.post(week[0], content=week[1], headers=JSON).json()
    (shown,) = re.findall(r"```json\n(\{\"model\".*?)```", PAGE, re.DOTALL)
    [one] = reply["forecasts"]
    assert re.findall(r'"(\w+)":', shown) == [*reply, *one, *one["values"]]
    assert reply["step"] == 366 and len(one["values"]["level"]) == 7


def test_samples_spread_around_the_middle(gauge: httpx.Client, session: str) -> None:
    first(predict(gauge, ROWS[:50], session=session, at=0))
    known = [[None, rain] for _, rain in ROWS[50 : 50 + WEEK]]
    reply = forecast(gauge, session, horizon=WEEK, inputs=known, samples=20, seed=1)
    paths = [tuple(one["values"]["level"]) for one in reply["forecasts"]]
    assert len(set(paths)) == 20 and reply["seed"] == 1
    assert (
        forecast(gauge, session, horizon=WEEK, inputs=known, samples=3, seed=1)["forecasts"]
        == (reply["forecasts"][:3])
    )


def test_what_the_model_does_not_forecast_must_be_given(gauge: httpx.Client, session: str) -> None:
    first(predict(gauge, ROWS[:5], session=session, at=0))
    response = gauge.post(f"/sessions/{session}/forecast", json={"horizon": 2})
    assert (response.status_code, response.json()["code"]) == (422, "forecast_not_supported")
    assert "'rain'" in response.json()["detail"] and response.json()["pointer"] == "/inputs"
    unknown = gauge.post("/sessions/nobody/forecast", json={"horizon": 1, "inputs": [[1, 1]]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_session")
    assert gauge.post(f"/sessions/{session}/forecast?at=3", json={"horizon": 1}).status_code == 422
    assert gauge.get(f"/sessions/{session}/forecast").status_code == 405


def test_the_manifest_says_what_each_number_forecasts(gauge: httpx.Client) -> None:
    [output] = gauge.get("/models/gauge").json()["models"][0]["outputs"]
    assert [(one["feature"], one["steps"], one["quantile"]) for one in output["forecasts"]] == [
        ("level", steps, quantile) for steps in (1, 7) for quantile in (0.05, 0.5, 0.95)
    ]
