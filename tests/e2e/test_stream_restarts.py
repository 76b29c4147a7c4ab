"""Two replicas behind nginx, restarted one after the other: a stream that connects again loses nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.nginx import Nginx, needs_nginx, nginx
from tests.e2e.server import Server, running_two
from tests.e2e.streams import Stream

pytestmark = needs_nginx
CLIENTS, IN_FLIGHT = 4, 3
Steps = list[list[float]]


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Server]]:
    with running_two(tmp_path) as started:
        yield started


class Client:
    """Streams the steps of one session, several in flight; connects again, and sends again what it must."""

    def __init__(self, proxy: Nginx, name: str, steps: Steps, is_over: threading.Event) -> None:
        self._url, self._name, self._steps, self._is_over = proxy.url, name, steps, is_over
        self.replies: list[Any] = []  # by step: the output
        self.codes: list[int] = []  # with which the server has closed its streams

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                with Stream(self._url) as stream:
                    self._talk(stream)
            except InvalidStatus as refused:  # stopping, or starting: its body says so
                assert refused.response.status_code in (502, 503)
                time.sleep(0.05)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None, "the connection was cut"
                self.codes.append(closed.rcvd.code)

    def _talk(self, stream: Stream) -> None:
        opened = stream.ask(session=self._name, at=len(self.replies))
        assert "error" not in opened and opened["step"] - len(self.replies) <= IN_FLIGHT, opened
        sent = len(self.replies)
        while not self._is_over.is_set():
            while sent < len(self.replies) + IN_FLIGHT:
                stream.send(steps=[self._steps[sent % len(self._steps)]], at=sent)
                sent += 1
            answer = stream.receive()
            if "draining" in answer:
                (session,) = answer["sessions"]
                assert session["step"] >= len(self.replies)
                continue
            assert answer["step"] == len(self.replies) + 1, answer
            self.replies.append(answer["output"])


def test_a_rolling_restart_loses_no_step_of_a_stream(
    replicas: list[Server], tmp_path: Path, utterance: Steps
) -> None:
    is_over = threading.Event()
    with nginx(tmp_path / "nginx", [each.port for each in replicas]) as proxy:
        clients = [Client(proxy, f"call-{number}", utterance, is_over) for number in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            talks = [pool.submit(client.run) for client in clients]
            try:
                wait(clients, talks)
                for replica in replicas:
                    assert replica.stop() == 0
                    wait(clients, talks)
                    replica.start()
                wait(clients, talks)
            finally:
                is_over.set()
            for talk in talks:
                talk.result()
        expected = whole(proxy.url, utterance, max(len(client.replies) for client in clients))
        for client in clients:
            assert client.replies == expected[: len(client.replies)]
            assert client.codes and set(client.codes) == {1012}


def wait(clients: list[Client], talks: list[Any]) -> None:
    """Until every client has had another reply."""
    before = [len(client.replies) for client in clients]
    while any(
        len(client.replies) <= count and not talk.done()
        for client, count, talk in zip(clients, before, talks, strict=True)
    ):
        time.sleep(0.02)


def whole(url: str, utterance: Steps, steps: int) -> list[Any]:
    """The outputs of so many steps, computed at once."""
    body = {"sequences": [[utterance[at % len(utterance)] for at in range(steps)]], "return": "all"}
    outputs: list[Any] = httpx.post(f"{url}/predict", json=body, timeout=60).json()["predictions"][0][
        "output"
    ]
    return outputs
