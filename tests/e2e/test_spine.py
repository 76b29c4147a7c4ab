"""The main path: one request, the same sequence in pieces, and the server killed in between."""

import itertools
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.manifest import Manifest
from tests.e2e.conftest import first, predict
from tests.e2e.server import START_S, Server, running

ROOT = Path(__file__).parents[2]
PIECES = 3
Steps = list[list[float]]


def pieces(steps: Steps) -> list[tuple[int, Steps]]:
    """The sequence in three pieces, each with the step that it begins at."""
    cuts = [len(steps) * i // PIECES for i in range(PIECES + 1)]
    return [(a, steps[a:b]) for a, b in itertools.pairwise(cuts)]


def test_the_example_of_the_readme_is_answered_with_the_right_speaker(
    client: httpx.Client, vowels: Manifest
) -> None:
    body = (ROOT / "docs/examples/utterance.json").read_bytes()
    answer = first(client.post("/predict", content=body, headers={"content-type": "application/json"}))
    assert vowels.example is not None
    assert answer["label"] == vowels.example.label
    np.testing.assert_allclose(answer["output"], vowels.example.output, atol=vowels.example.tolerance)


@pytest.mark.promise(5)
def test_three_pieces_in_a_session_equal_one_shot_bit_by_bit(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance))
    for at, piece in pieces(utterance):
        answer = first(predict(client, piece, session=session, at=at))
        assert answer["step"] == at + len(piece)
    assert answer["output"] == one_shot["output"]


@pytest.mark.promise(5)
def test_all_steps_of_a_session_equal_one_shot(client: httpx.Client, utterance: Steps, session: str) -> None:
    one_shot = client.post("/predict", json={"sequences": [utterance], "return": "all"}).json()
    outputs = []
    for step in utterance:
        body = {"sequences": [{"steps": [step], "session": session}], "return": "all"}
        outputs += first(client.post("/predict", json=body))["output"]
    assert outputs == one_shot["predictions"][0]["output"]


@pytest.mark.promise(1)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killing_everything_between_the_pieces_changes_nothing(
    tmp_path: Path, utterance: Steps, workers: str
) -> None:
    with running(tmp_path, workers=workers) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            one_shot = first(predict(client, utterance))
        for at, piece in pieces(utterance):
            with httpx.Client(base_url=server.url, timeout=30) as client:
                answer = first(predict(client, piece, session="killed", at=at))
            server.kill()
            server.start()
        assert answer["output"] == one_shot["output"]
        with httpx.Client(
            base_url=server.url, timeout=30
        ) as client:  # a retry, as if the reply had been lost
            again = first(predict(client, piece, session="killed", at=at))
        assert again == answer


def test_a_killed_worker_is_replaced_and_no_session_is_lost(tmp_path: Path, utterance: Steps) -> None:
    with running(tmp_path, workers="2", log_level="warning") as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            one_shot = first(predict(client, utterance))
        for at, piece in pieces(utterance):
            with httpx.Client(base_url=server.url, timeout=30) as client:
                answer = first(predict(client, piece, session="moves", at=at))
            if at + len(piece) == len(utterance):
                break
            before = server.workers()
            os.kill(before[0], signal.SIGKILL)
            deadline = time.monotonic() + START_S
            while before[0] in server.workers() or len(server.workers()) < 2 or not server.is_ready():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert answer["output"] == one_shot["output"]
        deaths = [line for line in server.log_lines() if " died (SIGKILL)" in line["message"]]
        assert [line["level"] for line in deaths] == ["warning"] * (PIECES - 1)


def test_concurrent_clients_with_sequences_of_all_lengths_get_their_own_answers(
    client: httpx.Client,
) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(int(n), 12)).round(3).tolist() for n in rng.integers(1, 300, 40)]
    alone = [first(predict(client, steps))["output"] for steps in sequences]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda steps: first(predict(client, steps))["output"], sequences))
    in_one_request = client.post("/predict", json={"sequences": sequences}).json()["predictions"]
    assert together == alone
    assert [prediction["output"] for prediction in in_one_request] == alone


@pytest.mark.promise(2)
def test_the_same_request_again_gets_the_same_bytes_and_moves_nothing(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    replies = [predict(client, utterance[:4], session=session, at=0) for _ in range(3)]
    assert len({reply.content for reply in replies}) == 1
    assert client.get(f"/sessions/{session}").json()["step"] == 4
    other = predict(client, utterance[:3], session=session, at=0)
    assert (other.status_code, other.json()["code"], other.json()["step"]) == (409, "session_conflict", 4)


@pytest.mark.promise(2)
def test_of_duplicates_that_race_one_runs_and_all_get_its_reply(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: predict(client, utterance, session=session, at=0), range(32)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert client.get(f"/sessions/{session}").json()["step"] == len(utterance)


@pytest.mark.promise(3)
def test_requests_that_race_without_at_are_each_applied_once(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: predict(client, utterance[:2], session=session), range(60)))
    assert sorted(first(reply)["step"] for reply in replies) == list(range(2, 122, 2))


def test_a_session_that_ends_frees_its_name_and_keeps_its_last_reply(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    predict(client, utterance[:2], session=session, at=0)
    last = predict(client, utterance[2:], session=session, at=2, end=True)
    assert predict(client, utterance[2:], session=session, at=2, end=True).content == last.content
    ended = client.get(f"/sessions/{session}")
    assert (ended.status_code, ended.json()["reason"]) == (410, "ended")
    assert first(predict(client, utterance, session=session))["step"] == len(utterance)


def test_a_stop_finishes_running_requests_and_refuses_new_ones(tmp_path: Path, utterance: Steps) -> None:
    body = {"sequences": [utterance * 80] * 20}
    slow = {"max_batch": "1", "chunk_steps": "1", "max_wait_ms": "1000000000"}
    with running(tmp_path, request_timeout_s="600", drain_s="600", **slow) as server:
        answers: list[httpx.Response] = []

        def send() -> None:
            answers.append(httpx.post(f"{server.url}/predict", json=body, timeout=600))

        with httpx.Client(base_url=server.url, timeout=30) as waiting:
            waiting.get("/health/live")  # a connection from before the stop
            sending = threading.Thread(target=send)
            sending.start()
            deadline = time.monotonic() + START_S
            while not waiting.get("/models/vowels").json()["models"][0]["batching"]["waiting"]:
                assert time.monotonic() < deadline and not answers, (
                    "the long request must still be in progress"
                )
            server.process.terminate()
            server.wait_for_log("stopping")
            refused = waiting.post("/predict", json={"sequences": [utterance]})
            others = [
                httpx.put(f"{server.url}/sessions/new", json={"model": "vowels"}, timeout=60),
                httpx.get(f"{server.url}/models", timeout=60),
            ]
            alive = httpx.get(f"{server.url}/health/live", timeout=60)
        sending.join(600)
        assert server.process.wait(START_S) == 0
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert int(refused.headers["retry-after"]) >= 1 and refused.headers["connection"] == "close"
        assert [(other.status_code, other.json()["code"]) for other in others] == [(503, "draining")] * 2
        assert (alive.status_code, alive.headers["connection"]) == (200, "close")
        assert answers[0].status_code == 200
        assert all("output" in prediction for prediction in answers[0].json()["predictions"])


def test_a_client_that_hangs_up_leaves_the_server_answering(
    server: Server, client: httpx.Client, utterance: Steps
) -> None:
    body = json.dumps({"sequences": [utterance * 60] * 20}).encode()
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
    for sent in (len(body), len(body) // 2, 0):  # during the answer, during the body, before it
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.format(len(body)).encode() + body[:sent])
    assert first(predict(client, utterance))["label"]


def test_every_request_has_one_line_in_the_log(tmp_path: Path, utterance: Steps) -> None:
    with running(tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            with_id = client.post(
                "/predict", json={"sequences": [utterance]}, headers={"x-request-id": "mine-1"}
            )
            without_id = client.post("/predict", json={"sequences": []})
        assert with_id.headers["x-request-id"] == "mine-1"
        assert server.stop() == 0
        lines = {line["id"]: line for line in server.log_lines() if line["logger"] == "cellgate.access"}
        answered, refused = lines["mine-1"], lines[without_id.headers["x-request-id"]]
    assert (answered["status"], answered["model"], answered["steps"]) == (200, "vowels", len(utterance))
    assert answered["ms"] > 0
    assert (refused["status"], refused["code"]) == (422, "invalid_field")
