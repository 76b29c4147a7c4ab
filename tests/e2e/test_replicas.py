"""Three servers behind nginx, sessions in Redis: any replica goes on with any session, whatever dies."""

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
from tests.e2e.gate import Gate, gate
from tests.e2e.nginx import Nginx, needs_nginx, nginx
from tests.e2e.server import START_S, Server, running
from tests.redis_server import RedisServer, needs_redis, redis_server

pytestmark = [needs_nginx, needs_redis]

REPLICAS = 3
# One step a call: a long request is long enough to be killed in its middle, and answers the same bits.
SETTINGS = {"store": "redis", "chunk_steps": "1", "max_wait_ms": "60000", "workers": "1"}
Steps = list[list[float]]


@dataclass
class Cluster:
    """What runs: one store behind a gate, the replicas, and nginx before them."""

    redis: RedisServer
    gate: Gate
    replicas: list[Server]
    nginx: Nginx

    def replica_of(self, response: httpx.Response) -> Server:
        """Who answered."""
        port = self.nginx.replica_of(response.headers["x-request-id"])
        return next(replica for replica in self.replicas if replica.port == port)

    def wait_for_worker(self) -> Server:
        """The replica that is at work on a request, once there is one."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for replica in self.replicas:
                if batching(replica)["waiting"]:
                    return replica
        raise AssertionError("no replica is at work")

    def mend(self) -> None:
        """Start again what a test has left dead."""
        self.gate.keeps_back = False
        self.gate.kept_back.clear()
        try:
            self.redis.ask("PING")
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
        opened = stack.enter_context(gate(redis.port))
        replicas = []
        for number in range(REPLICAS):
            (folder / str(number)).mkdir()
            settings = SETTINGS | {"redis_url": opened.url}
            replicas.append(stack.enter_context(running(folder / str(number), **settings)))
        before = stack.enter_context(nginx(folder / "nginx", [replica.port for replica in replicas]))
        yield Cluster(redis, opened, replicas, before)


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    yield started
    started.mend()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    """Speaks to nginx."""
    with httpx.Client(base_url=cluster.nginx.url, timeout=60) as opened:
        yield opened


@pytest.fixture
def long(utterance: Steps) -> Steps:
    """So many steps that a request with them is under way for a while."""
    return (utterance * 2000)[:15_000]


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


def batching(replica: Server) -> dict[str, Any]:
    """Counters of the replica's scheduler, asked of it, not of nginx."""
    found = httpx.get(f"{replica.url}/models/vowels", timeout=30).json()
    counters: dict[str, Any] = found["models"][0]["batching"]
    return counters


def step_of(replica: Server, session: str) -> int | None:
    """Where the store says the session is; None if there is none yet."""
    found = httpx.get(f"{replica.url}/sessions/{session}", timeout=30)
    return int(found.json()["step"]) if found.status_code == 200 else None


def insist(client: httpx.Client, steps: Steps, **fields: Any) -> dict[str, Any]:
    """What a client should do: the same again while the answer is 502 or 503, or is cut off."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            answer = predict(client, steps, **fields)
        except httpx.RemoteProtocolError:  # the replica died in the middle of its reply
            assert time.monotonic() < deadline
            continue
        if answer.status_code not in (502, 503):
            return first(answer)
        assert answer.headers["retry-after"] and time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def in_pieces(steps: Steps, size: int) -> Iterator[tuple[int, Steps]]:
    for at in range(0, len(steps), size):
        yield at, steps[at : at + size]


def test_requests_go_round(cluster: Cluster, client: httpx.Client, utterance: Steps) -> None:
    answers = [predict(client, utterance) for _ in range(5 * REPLICAS)]
    assert len({answer.content for answer in answers}) == 1
    order = [cluster.replica_of(answer).port for answer in answers]
    assert Counter(order) == {replica.port: 5 for replica in cluster.replicas}
    assert all(order[i] == order[i % REPLICAS] for i in range(len(order)))
    for answer in answers:  # nginx's request id is the one that the replica logs
        cluster.replica_of(answer).wait_for_log(answer.headers["x-request-id"])


def test_a_session_step_by_step_over_all_replicas_equals_one_shot(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    body = {"sequences": [utterance], "return": "all"}
    one_shot = first(client.post("/predict", json=body))["output"]
    outputs, answered = [], set()
    for at, piece in in_pieces(utterance, 1):
        sequence = {"steps": piece, "session": session, "at": at}
        answer = client.post("/predict", json={"sequences": [sequence], "return": "all"})
        outputs += first(answer)["output"]
        answered.add(cluster.replica_of(answer).port)
    assert outputs == one_shot
    assert answered == {replica.port for replica in cluster.replicas}
    assert {step_of(replica, session) for replica in cluster.replicas} == {len(utterance)}


def test_duplicates_that_race_through_all_replicas_are_one_step(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: predict(client, utterance, session=session, at=0), range(48)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert {cluster.replica_of(answer).port for answer in answers} == {r.port for r in cluster.replicas}
    assert step_of(cluster.replicas[0], session) == len(utterance)


def test_requests_without_at_that_race_through_all_replicas_are_each_applied_once(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: insist(client, utterance[:2], session=session), range(60)))
    assert sorted(answer["step"] for answer in answers) == list(range(2, 122, 2))


def test_each_replica_killed_between_two_pieces_changes_nothing(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance))
    third = -(-len(utterance) // REPLICAS)
    for (at, piece), victim in zip(in_pieces(utterance, third), cluster.replicas, strict=True):
        answer = insist(client, piece, session=session, at=at)
        victim.kill()
        for _ in cluster.replicas:  # its place is empty when its turn comes
            assert insist(client, piece, session=session, at=at) == answer
        victim.start()
    assert answer["output"] == one_shot["output"] and answer["step"] == len(utterance)


def test_a_replica_killed_in_mid_request_loses_nothing(
    cluster: Cluster, client: httpx.Client, utterance: Steps, long: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance + long))
    insist(client, utterance, session=session, at=0)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(predict, client, long, session=session, at=len(utterance))
        victim = cluster.wait_for_worker()
        victim.kill()
        lost = asked.result()
    assert (lost.status_code, lost.json()["code"]) == (502, "replica_lost")
    assert cluster.replica_of(lost) is victim
    survivor = next(replica for replica in cluster.replicas if replica is not victim)
    assert step_of(survivor, session) == len(utterance), "half a request is no step"
    again = predict(client, long, session=session, at=len(utterance))
    assert first(again)["output"] == one_shot["output"]
    assert first(again)["step"] == len(utterance) + len(long)
    assert cluster.replica_of(again) is not victim


def test_no_answer_leaves_before_the_store_has_said_that_it_is_committed(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    """Else the commit of one that was answered could still fail, or die with its replica."""
    cluster.gate.keeps_back = True
    unsure = predict(client, utterance, session=session, at=0)
    assert cluster.gate.kept_back.is_set(), "Redis has run the commit, and nobody knows"
    assert (unsure.status_code, unsure.json()["code"]) == (503, "store_unavailable")
    cluster.gate.keeps_back = False
    counted = sum(batching(replica)["steps"] for replica in cluster.replicas)
    again = insist(client, utterance, session=session, at=0)
    assert again["step"] == len(utterance)
    assert sum(batching(replica)["steps"] for replica in cluster.replicas) == counted, "the stored reply"


def test_a_replica_killed_between_commit_and_reply_has_taken_the_step_once(
    cluster: Cluster, client: httpx.Client, long: Steps, session: str
) -> None:
    one_shot = first(predict(client, long))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(predict, client, long, session=session, at=0)
        victim = cluster.wait_for_worker()
        cluster.gate.keeps_back = True
        assert cluster.gate.kept_back.wait(START_S), "Redis has run the commit, and nobody knows"
        victim.kill()
        cluster.gate.keeps_back = False
        assert asked.result().status_code == 502
    survivors = [replica for replica in cluster.replicas if replica is not victim]
    assert step_of(survivors[0], session) == len(long)
    counted = sum(batching(replica)["steps"] for replica in survivors)
    again = insist(client, long, session=session, at=0)
    assert (again["output"], again["step"]) == (one_shot["output"], len(long))
    assert sum(batching(replica)["steps"] for replica in survivors) == counted, (
        "the stored reply, not run again"
    )


def test_a_reply_that_nobody_was_there_to_take_is_kept(
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
    for replica in cluster.replicas:  # whoever has it in memory has it no more
        replica.kill()
    for replica in cluster.replicas:
        replica.launch()
    until(lambda: all(replica.is_ready() for replica in cluster.replicas), "the replicas")
    again = insist(client, utterance, session=session, at=0)
    assert again["output"] == first(predict(client, utterance))["output"]
    assert again["step"] == len(utterance)


def test_redis_killed_between_two_pieces_brings_every_session_back(
    cluster: Cluster, client: httpx.Client, utterance: Steps, session: str
) -> None:
    one_shot = first(predict(client, utterance))
    half = len(utterance) // 2
    insist(client, utterance[:half], session=session, at=0)
    cluster.redis.kill()
    refused = predict(client, utterance[half:], session=session, at=half)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert first(predict(client, utterance)) == one_shot, "without a session nothing is missing"
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/ready?sessions=false").status_code == 200
    cluster.redis.start()
    answer = insist(client, utterance[half:], session=session, at=half)
    assert (answer["output"], answer["step"]) == (one_shot["output"], len(utterance))


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_while_replicas_die_in_turn_every_client_gets_through_with_the_right_bits(
    cluster: Cluster, client: httpx.Client, way: str
) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(int(n), 12)).round(3).tolist() for n in rng.integers(60, 120, 6)]
    alone = [first(predict(client, steps))["output"] for steps in sequences]
    over = threading.Event()

    def converse(number: int) -> int:
        """The sequence in pieces, again and again, until no replica is left to die; how often."""
        for turn in itertools.count(1):
            name = f"{way}-{number}-{turn}"
            for at, piece in in_pieces(sequences[number], 5):
                answer = insist(client, piece, session=name, at=at)
                assert answer["step"] == at + len(piece)
            assert answer["output"] == alone[number]
            if over.is_set():
                return turn
        raise AssertionError

    with ThreadPoolExecutor(len(sequences)) as pool:
        talks = [pool.submit(converse, number) for number in range(len(sequences))]
        try:
            for replica in cluster.replicas:
                getattr(replica, way)()
                replica.start()
        finally:
            over.set()
    assert all(talk.result() for talk in talks)


def test_a_rolling_restart_that_nginx_knows_of_fails_no_request_at_all(
    cluster: Cluster, utterance: Steps, session: str
) -> None:
    # A connection each: nginx closes idle ones when it reloads, and a request may just be on its way.
    limits = httpx.Limits(max_keepalive_connections=0)
    over = threading.Event()

    def converse() -> set[int]:
        """Single steps, none of them sent twice; the statuses seen."""
        statuses = set()
        with httpx.Client(base_url=cluster.nginx.url, timeout=60, limits=limits) as client:
            for at in itertools.count():
                step = utterance[at % len(utterance)]
                statuses.add(predict(client, [step], session=session, at=at).status_code)
                if over.is_set():
                    break
        return statuses

    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(converse)
        try:
            for replica in cluster.replicas:
                cluster.nginx.reload(down=replica.port)
                assert replica.stop() == 0
                replica.start()
                cluster.nginx.reload()
        finally:
            over.set()
    assert talk.result() == {200}
