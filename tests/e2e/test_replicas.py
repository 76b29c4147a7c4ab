"""Three servers behind nginx, sessions in Redis: any replica continues any session, whatever is killed."""

import contextlib
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.nginx import Nginx, needs_nginx, nginx
from tests.e2e.redis_gate import RedisGate, redis_gate
from tests.e2e.server import START_S, Server, running
from tests.redis_server import RedisServer, needs_redis, redis_server

pytestmark = [needs_nginx, needs_redis]

REPLICAS = 3
# One step a call: a long request takes long enough to be killed meanwhile, and gives the same bits.
SETTINGS = {
    "store": "redis",
    "chunk_steps": "1",
    "max_wait_ms": "1000000000",
    "request_timeout_s": "600",
    "workers": "1",
}
Steps = list[list[float]]


@dataclass
class Cluster:
    """One store behind a gate, the replicas, and nginx in front of them."""

    redis: RedisServer
    gate: RedisGate
    replicas: list[Server]
    nginx: Nginx

    def replica_of(self, response: httpx.Response) -> Server:
        """The replica that answered."""
        port = self.nginx.replica_of(response.headers["x-request-id"])
        return next(replica for replica in self.replicas if replica.port == port)

    def wait_for_worker(self) -> Server:
        """Wait for a replica with a request in progress, and return it."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for replica in self.replicas:
                if batching(replica)["waiting"]:
                    return replica
        raise AssertionError("no replica has a request in progress")

    def restore(self) -> None:
        """Start what a test has killed."""
        self.gate.withholds = False
        self.gate.withheld.clear()
        try:
            self.redis.call("PING")
        except OSError:
            self.redis.start()
        for replica in self.replicas:
            if replica.process.poll() is not None:
                replica.start()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        opened = stack.enter_context(redis_gate(redis.port))
        replicas = []
        for number in range(REPLICAS):
            (folder / str(number)).mkdir()
            settings = SETTINGS | {"redis_url": opened.url}
            replicas.append(stack.enter_context(running(folder / str(number), **settings)))
        proxy = stack.enter_context(
            nginx(folder / "nginx", [replica.port for replica in replicas], read_timeout_s=600)
        )
        yield Cluster(redis, opened, replicas, proxy)


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    yield started
    started.restore()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    """A client of nginx."""
    with httpx.Client(base_url=cluster.nginx.url, timeout=600) as opened:
        yield opened


@pytest.fixture
def long(utterance: Steps) -> Steps:
    """Enough steps to keep a replica busy for a while."""
    return (utterance * 2000)[:15_000]


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline, f"timeout: {what}"
        time.sleep(0.005)


def batching(replica: Server) -> dict[str, Any]:
    """Counters of the replica's scheduler, read from the replica, not through nginx."""
    shown = httpx.get(f"{replica.url}/models/vowels", timeout=30).json()
    counters: dict[str, Any] = shown["models"][0]["batching"]
    return counters


def step_of(replica: Server, session: str) -> int | None:
    """The session's step in the store; None if it does not exist."""
    shown = httpx.get(f"{replica.url}/sessions/{session}", timeout=30)
    return int(shown.json()["step"]) if shown.status_code == 200 else None


def predict_with_retries(client: httpx.Client, steps: Steps, **fields: Any) -> dict[str, Any]:
    """As a client should: retry the same request while the answer is 502 or 503, or is cut off."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            answer = predict(client, steps, **fields)
        except httpx.RemoteProtocolError:  # the replica died while it sent its reply
            assert time.monotonic() < deadline
            continue
        if answer.status_code not in (502, 503):
            return first(answer)
        assert answer.headers["retry-after"] and time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def in_pieces(steps: Steps, size: int) -> Iterator[tuple[int, Steps]]:
    for at in range(0, len(steps), size):
        yield at, steps[at : at + size]


def test_requests_are_distributed_round_robin(
    cluster: Cluster, client: httpx.Client, utterance: Steps
) -> None:
    answers = [predict(client, utterance) for _ in range(5 * REPLICAS)]
    assert len({answer.content for answer in answers}) == 1
    order = [cluster.replica_of(answer).port for answer in answers]
    assert Counter(order) == {replica.port: 5 for replica in cluster.replicas}
    assert all(order[i] == order[i % REPLICAS] for i in range(len(order)))
    for answer in answers:  # nginx's request id is the one that the replica logs
        cluster.replica_of(answer).wait_for_log(answer.headers["x-request-id"])


@pytest.mark.promise(4)
def test_a_session_step_by_step_over_all_replicas_equals_one_shot(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    body = {"sequences": [utterance], "return": "all"}
    one_shot = first(client.post("/predict", json=body))["output"]
    outputs, ports = [], set()
    for at, piece in in_pieces(utterance, 1):
        sequence = {"steps": piece, "session": session, "at": at}
        answer = client.post("/predict", json={"sequences": [sequence], "return": "all"})
        outputs += first(answer)["output"]
        ports.add(cluster.replica_of(answer).port)
    assert outputs == one_shot
    assert ports == {replica.port for replica in cluster.replicas}
    assert {step_of(replica, session) for replica in cluster.replicas} == {len(utterance)}


@pytest.mark.promise(12)
def test_a_rewind_on_one_replica_is_answered_by_each_and_replayed_over_all(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    client.put(f"/sessions/{session}", json={"model": "vowels", "history": {"last": 4}})
    outputs = [first(predict(client, [row], session=session))["output"] for row in utterance[:8]]
    rewind = {"step": 5, "at": 8, "rewinds": 0}
    for replica in cluster.replicas:
        reply = httpx.post(f"{replica.url}/sessions/{session}/rewind", json=rewind).json()
        assert (reply["step"], reply["rewinds"], reply["history"]["checkpoints"]) == (5, 1, [4])
    replayed = [
        first(predict(client, [row], session=session, at=at, rewinds=1))["output"]
        for at, row in enumerate(utterance[5:8], 5)
    ]
    assert replayed == outputs[5:]


@pytest.mark.promise(2)
def test_duplicates_that_race_through_all_replicas_are_one_step(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: predict(client, utterance, session=session, at=0), range(48)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert {cluster.replica_of(answer).port for answer in answers} == {r.port for r in cluster.replicas}
    assert step_of(cluster.replicas[0], session) == len(utterance)


@pytest.mark.promise(3)
def test_requests_without_at_that_race_through_all_replicas_are_each_applied_once(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: predict_with_retries(client, utterance[:2], session=session), range(60))
        )
    assert sorted(answer["step"] for answer in answers) == list(range(2, 122, 2))


def test_each_replica_killed_between_two_pieces_changes_nothing(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance))
    third = -(-len(utterance) // REPLICAS)
    for (at, piece), victim in zip(in_pieces(utterance, third), cluster.replicas, strict=True):
        answer = predict_with_retries(client, piece, session=session, at=at)
        victim.kill()
        for _ in cluster.replicas:  # one of these requests is the turn of the killed replica
            assert predict_with_retries(client, piece, session=session, at=at) == answer
        victim.start()
    assert answer["output"] == one_shot["output"] and answer["step"] == len(utterance)


def test_a_replica_killed_during_a_request_loses_nothing(
    cluster: Cluster, client: httpx.Client, utterance: Steps, long: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance + long))
    predict_with_retries(client, utterance, session=session, at=0)
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(predict, client, long, session=session, at=len(utterance))
        victim = cluster.wait_for_worker()
        victim.kill()
        lost = request.result()
    assert (lost.status_code, lost.json()["code"]) == (502, "replica_lost")
    assert cluster.replica_of(lost) is victim
    survivor = next(replica for replica in cluster.replicas if replica is not victim)
    assert step_of(survivor, session) == len(utterance), "part of a request was committed"
    again = predict(client, long, session=session, at=len(utterance))
    assert first(again)["output"] == one_shot["output"]
    assert first(again)["step"] == len(utterance) + len(long)
    assert cluster.replica_of(again) is not victim


@pytest.mark.promise(1)
def test_no_reply_leaves_before_the_store_confirms_the_commit(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    """Otherwise the commit of an answered request could still fail, or be lost with its replica."""
    cluster.gate.withholds = True
    unsure = predict(client, utterance, session=session, at=0)
    assert cluster.gate.withheld.is_set(), "Redis has run the commit, but its reply is withheld"
    assert (unsure.status_code, unsure.json()["code"]) == (503, "store_unavailable")
    cluster.gate.withholds = False
    counted = sum(batching(replica)["steps"] for replica in cluster.replicas)
    again = predict_with_retries(client, utterance, session=session, at=0)
    assert again["step"] == len(utterance)
    assert sum(batching(replica)["steps"] for replica in cluster.replicas) == counted, (
        "the stored reply is sent"
    )


@pytest.mark.promise(1)
def test_a_replica_killed_between_commit_and_reply_has_applied_the_step_once(
    cluster: Cluster, client: httpx.Client, long: Steps, session: str
) -> None:
    one_shot = first(predict(client, long))
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(predict, client, long, session=session, at=0)
        victim = cluster.wait_for_worker()
        cluster.gate.withholds = True
        assert cluster.gate.withheld.wait(START_S), "Redis has run the commit, but its reply is withheld"
        victim.kill()
        cluster.gate.withholds = False
        assert request.result().status_code == 502
    survivors = [replica for replica in cluster.replicas if replica is not victim]
    assert step_of(survivors[0], session) == len(long)
    counted = sum(batching(replica)["steps"] for replica in survivors)
    again = predict_with_retries(client, long, session=session, at=0)
    assert (again["output"], again["step"]) == (one_shot["output"], len(long))
    assert sum(batching(replica)["steps"] for replica in survivors) == counted, (
        "the stored reply is sent, the request not run again"
    )


def test_the_reply_of_a_disconnected_client_is_stored(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    sequence = {"steps": utterance, "session": session, "at": 0}
    body = json.dumps({"sequences": [sequence]}).encode()
    head = (
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", cluster.nginx.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: step_of(cluster.replicas[0], session) == len(utterance), "the commit")
    for replica in cluster.replicas:  # no replica has it in memory any more
        replica.kill()
    for replica in cluster.replicas:
        replica.launch()
    until(lambda: all(replica.is_ready() for replica in cluster.replicas), "the replicas")
    again = predict_with_retries(client, utterance, session=session, at=0)
    assert again["output"] == first(predict(client, utterance))["output"]
    assert again["step"] == len(utterance)


@pytest.mark.promise(6)
def test_redis_killed_between_two_pieces_restores_every_session(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance))
    half = len(utterance) // 2
    predict_with_retries(client, utterance[:half], session=session, at=0)
    cluster.redis.kill()
    refused = predict(client, utterance[half:], session=session, at=half)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert first(predict(client, utterance)) == one_shot, "requests without a session need no store"
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/ready?sessions=false").status_code == 200
    cluster.redis.start()
    answer = predict_with_retries(client, utterance[half:], session=session, at=half)
    assert (answer["output"], answer["step"]) == (one_shot["output"], len(utterance))


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_while_replicas_die_in_turn_every_client_gets_the_right_bits(
    cluster: Cluster, client: httpx.Client, way: str
) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(int(n), 12)).round(3).tolist() for n in rng.integers(60, 120, 6)]
    alone = [first(predict(client, steps))["output"] for steps in sequences]
    is_over = threading.Event()

    def send_in_pieces(number: int) -> int:
        """The sequence in pieces, repeatedly, until every replica was killed; the number of times."""
        for turn in itertools.count(1):
            name = f"{way}-{number}-{turn}"
            for at, piece in in_pieces(sequences[number], 5):
                answer = predict_with_retries(client, piece, session=name, at=at)
                assert answer["step"] == at + len(piece)
            assert answer["output"] == alone[number]
            if is_over.is_set():
                return turn
        raise AssertionError

    with ThreadPoolExecutor(len(sequences)) as pool:
        talks = [pool.submit(send_in_pieces, number) for number in range(len(sequences))]
        try:
            for replica in cluster.replicas:
                getattr(replica, way)()
                replica.start()
        finally:
            is_over.set()
    assert all(talk.result() for talk in talks)


def test_a_rolling_restart_with_nginx_reloads_fails_no_request(
    cluster: Cluster, utterance: Steps, session: str
) -> None:
    # A connection for each request: nginx closes idle ones at a reload, when a request may be on its way.
    limits = httpx.Limits(max_keepalive_connections=0)
    is_over = threading.Event()

    def send_steps() -> set[int]:
        """Single steps, none of them sent twice; the statuses of their replies."""
        statuses = set()
        with httpx.Client(base_url=cluster.nginx.url, timeout=60, limits=limits) as client:
            for at in itertools.count():
                step = utterance[at % len(utterance)]
                statuses.add(predict(client, [step], session=session, at=at).status_code)
                if is_over.is_set():
                    break
        return statuses

    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(send_steps)
        try:
            for replica in cluster.replicas:
                cluster.nginx.reload(down=replica.port)
                assert replica.stop() == 0
                replica.start()
                cluster.nginx.reload()
        finally:
            is_over.set()
    assert talk.result() == {200}
