"""A request that fails leaves its session's step and state unchanged."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import START_S, Server, running

# One step a call, so that long requests take seconds.
SETTINGS = {"chunk_steps": "1", "max_batch": "1", "max_wait_ms": "1000000000", "max_steps": "1000000"}
LONG = [[0] * 12] * 150_000
Steps = list[list[float]]


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("hurried"), request_timeout_s="1", **SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("patient"), request_timeout_s="600", **SETTINGS) as started:
        yield started


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_time(client: httpx.Client, steps: Steps, **fields: Any) -> dict[str, Any]:
    """Send a request until it meets its deadline: on a busy machine even one step may take a second."""
    deadline = time.monotonic() + START_S
    while (reply := predict(client, steps, **fields)).status_code == 504:
        assert time.monotonic() < deadline
    return first(reply)


def start(client: httpx.Client, steps: Steps, session: str) -> dict[str, Any]:
    """Start a session with these steps; its resource with the state, without idle times."""
    in_time(client, steps, session=session, at=0)
    return show(client, session)


def show(client: httpx.Client, session: str) -> dict[str, Any]:
    shown = client.get(f"/sessions/{session}", params={"state": "true"})
    assert shown.status_code == 200, shown.text
    return {name: value for name, value in shown.json().items() if name not in ("idle_s", "expires_in_s")}


def num_waiting(client: httpx.Client) -> int:
    return int(client.get("/models/vowels").json()["models"][0]["batching"]["waiting"])


def assert_continues(client: httpx.Client, utterance: Steps, session: str, at: int) -> None:
    """The rest of the utterance gives the same bits as one request with all of it."""
    answer = in_time(client, utterance[at:], session=session, at=at)
    assert answer["output"] == in_time(client, utterance)["output"]
    assert answer["step"] == len(utterance)


@pytest.mark.promise(6)
@pytest.mark.parametrize("steps", [[], [[0] * 11], [[0] * 12, [0] * 5], [[1e39] * 12] * 3, ["x"]])
def test_a_request_that_is_refused(patient: Server, utterance: Steps, steps: list[Any]) -> None:
    name = f"refused-{len(steps)}-{len(steps[0]) if steps else 0}"
    with httpx.Client(base_url=patient.url, timeout=60) as client:
        before = start(client, utterance[:5], name)
        assert predict(client, steps, session=name, at=5).status_code in (413, 422)
        assert predict(client, utterance[5:], session=name, at=4).status_code == 409
        assert show(client, name) == before
        assert_continues(client, utterance, name, 5)


@pytest.mark.promise(6)
def test_a_request_past_its_deadline(hurried: Server, utterance: Steps) -> None:
    with httpx.Client(base_url=hurried.url, timeout=60) as client:
        before = start(client, utterance[:5], "late")
        for _ in range(2):  # a retry changes nothing
            late = predict(client, LONG, session="late", at=5)
            assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
            until(lambda: not num_waiting(client))
            assert show(client, "late") == before
        assert_continues(client, utterance, "late", 5)


@pytest.mark.promise(6)
def test_a_request_whose_turn_never_came(hurried: Server, utterance: Steps) -> None:
    """It waits for another request of its session, or for requests of other sessions."""
    with httpx.Client(base_url=hurried.url, timeout=60) as client:
        before = {name: start(client, utterance[:5], name) for name in ("queued-0", "queued-1")}
        with ThreadPoolExecutor(8) as pool:
            late = list(pool.map(lambda i: predict(client, LONG, session=f"queued-{i % 2}"), range(8)))
        assert {answer.status_code for answer in late} == {504}
        until(lambda: not num_waiting(client))
        assert {name: show(client, name) for name in before} == before
        for name in before:
            assert_continues(client, utterance, name, 5)


@pytest.mark.promise(6)
def test_a_request_whose_client_hangs_up(patient: Server, utterance: Steps) -> None:
    body = json.dumps({"sequences": [{"steps": LONG, "session": "left", "at": 5}]}).encode()
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
    with httpx.Client(base_url=patient.url, timeout=60) as client:
        before = start(client, utterance[:5], "left")
        with socket.create_connection(("127.0.0.1", patient.port)) as connection:
            connection.sendall(head.format(len(body)).encode() + body)
            until(lambda: num_waiting(client) > 0)
        until(lambda: not num_waiting(client))
        steps = client.get("/models/vowels").json()["models"][0]["batching"]["steps"]
        assert steps < len(LONG), "the request ran to its end"
        assert show(client, "left") == before
        assert_continues(client, utterance, "left", 5)
