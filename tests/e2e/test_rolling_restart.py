"""Two replicas behind nginx, restarted one after the other under load: no client that waits as told fails."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.nginx import Nginx, needs_nginx, nginx
from tests.e2e.server import Server, running_two

pytestmark = needs_nginx
CLIENTS = 6
Steps = list[list[float]]


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Server]]:
    with running_two(tmp_path) as started:
        yield started


class Client:
    """Sends the steps of one session, each until it is answered; after a 503, it waits as the reply says."""

    def __init__(self, proxy: Nginx, name: str, steps: Steps, is_over: threading.Event) -> None:
        self._proxy, self._name, self._steps, self._is_over = proxy, name, steps, is_over
        self.replies: Counter[str] = Counter()  # by status and error code

    def run(self) -> None:
        """Until it is over. A connection that breaks raises."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=60)) as to:
            at = 0
            while not self._is_over.is_set():
                at += self._send(to, at)

    def _send(self, to: http.client.HTTPConnection, at: int) -> bool:
        """Whether the step has been taken."""
        sequence = {"steps": [self._steps[at % len(self._steps)]], "session": self._name, "at": at}
        to.request("POST", "/predict", json.dumps({"sequences": [sequence]}))
        reply = to.getresponse()
        answer = json.loads(reply.read())
        self.replies[f"{reply.status} {answer.get('code', '')}"] += 1
        if reply.status == 200:
            assert answer["predictions"][0]["step"] == at + 1
            return True
        time.sleep(float(reply.headers["retry-after"]))
        return False


def test_a_rolling_restart_under_load_fails_no_request(
    replicas: list[Server], tmp_path: Path, utterance: Steps
) -> None:
    """Some were 502: nginx skipped both replicas, or a connection that was just established was reset."""
    is_over = threading.Event()
    with nginx(tmp_path / "nginx", [each.port for each in replicas]) as proxy:
        clients = [Client(proxy, f"call-{number}", utterance, is_over) for number in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            talks = [pool.submit(client.run) for client in clients]
            try:
                for replica in replicas:  # the second at once, while nginx may still skip the first
                    assert replica.stop() == 0
                    replica.start()
                before = [client.replies["200 "] for client in clients]
                while any(
                    client.replies["200 "] <= count and not talk.done()
                    for client, count, talk in zip(clients, before, talks, strict=True)
                ):
                    time.sleep(0.05)
            finally:
                is_over.set()
            for talk in talks:
                talk.result()
        total = sum((client.replies for client in clients), Counter[str]())
        assert set(total) <= {"200 ", "503 draining"}, f"{total}\n{proxy.errors()}"
        assert all(client.replies["200 "] > 1 for client in clients)
