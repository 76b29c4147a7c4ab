"""Server-sent events on a real server: whole, broken off, killed and resumed, they amount to one reply."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from httpx_sse import EventSource, ServerSentEvent
from websockets.sync.client import connect

from tests.committed import ROOT, committed_models
from tests.docs.blocks import steps
from tests.e2e.nginx import needs_nginx, nginx
from tests.e2e.server import Server, running
from tests.service import text_models
from tests.service.events import joined
from tests.service.text_models import TEXTS
from training.data import tokens

LONG = 3000  # tokens, which take about a second
WAYS = pytest.mark.parametrize("query", ["", "?by=asgi"], ids=["fast path", "by ASGI"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of models: one that labels, one that writes."""
    root = tmp_path_factory.mktemp("models")
    text_models.write(root, "letters", tokens.learn_characters(TEXTS))
    shutil.copytree(committed_models() / "vowels", root / "vowels")
    return root


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"models_dir": str(folder), "workers": "2", "chunk_steps": "3", "root_path": "/ml"}
    settings |= {"drain_s": "0.1", "request_timeout_s": "600"}
    with running(tmp_path_factory.mktemp("server"), **settings) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


class Events(list[ServerSentEvent]):
    """What a client has received of one reply."""

    def receive(self, client: httpx.Client, path: str, body: Any, *, most: int | None = None) -> None:
        """Connect, go on after the last event, and hang up after `most` further ones."""
        headers = {"Accept": "text/event-stream"}
        if self and self[-1].id:
            headers["Last-Event-ID"] = self[-1].id
        with client.stream("POST", path, json=body, headers=headers) as response:
            assert response.status_code == 200, response.read()
            for number, event in enumerate(EventSource(response).iter_sse(), 1):
                if event.event != "error":
                    self.append(event)
                if number == most:
                    return

    @property
    def has_all(self) -> bool:
        return bool(self) and self[-1].event == "end"

    def reply(self) -> dict[str, Any]:
        return joined([(event.event, event.data.encode()) for event in self])


def story(session: str | None = None, **fields: Any) -> dict[str, Any]:
    fields = {"model": "letters", "prompt": "the cat ", "max_steps": 25} | fields
    return fields if session is None else fields | {"session": session}


@WAYS
def test_predictions_in_events_are_the_one_shot_reply(
    client: httpx.Client, utterance: list[list[float]], session: str, query: str
) -> None:
    body: dict[str, Any] = {"model": "vowels", "sequences": [utterance], "return": "all"}
    events = Events()
    events.receive(client, f"/predict{query}", body)
    assert len(events) == -(-len(utterance) // 3) + 1
    assert events.reply() == client.post("/predict", json=body).json()
    body["sequences"] = [{"steps": utterance, "session": session, "at": 0}]
    in_session = Events()
    in_session.receive(client, f"/ml/predict{query}", body)
    assert in_session.reply() == client.post("/predict", json=body).json()  # the stored reply
    assert client.get(f"/sessions/{session}").json()["step"] == len(utterance)


@WAYS
def test_texts_in_events_are_the_one_shot_reply(client: httpx.Client, session: str, query: str) -> None:
    events = Events()
    events.receive(client, f"/generate{query}", story())
    reply = events.reply()
    assert len(events) == 26
    assert reply == client.post("/generate", json=story(seed=reply["seed"])).json()
    in_session = Events()
    in_session.receive(client, f"/ml/generate{query}", story(session, at=0))
    assert in_session.reply() == client.post("/generate", json=story(session, at=0)).json()


def test_a_client_that_hangs_up_stops_the_work_and_nothing_is_committed(
    client: httpx.Client, server: Server, session: str
) -> None:
    events = Events()
    body = story(session, max_steps=15_000)
    with httpx.Client(base_url=server.url, timeout=60, headers={"X-Request-ID": "hang-up"}) as other:
        events.receive(other, "/generate", body, most=1)
    server.wait_for_log('"id":"hang-up".*"status":499|"status":499.*"id":"hang-up"')
    assert client.get(f"/sessions/{session}").status_code == 404
    # And another request of the session need not wait.
    reply = client.post("/generate", json=story(session, at=0, max_steps=1)).json()
    assert reply["step"] == len(body["prompt"]) + 1


def test_killed_and_resumed_events_are_one_reply_and_the_session_moves_once(
    server: Server, session: str
) -> None:
    """The request names neither seed nor `at`: the id of an event knows both."""
    events, body = Events(), story(session, max_steps=LONG)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        events.receive(client, "/generate", body, most=40)
        server.kill()
    server.start()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        if not events.has_all:
            events.receive(client, "/generate", body)
        reply = events.reply()
        assert reply["step"] == client.get(f"/sessions/{session}").json()["step"] == len("the cat ") + LONG
        once = client.post("/generate", json=story(max_steps=LONG, seed=reply["seed"])).json()
        assert (
            once["text"] == reply["text"] == "".join(orjson.loads(each.data)["text"] for each in events[:-1])
        )
        # Committed: whatever the client has lost of it is read from the store, also after a kill.
        server.kill()
    server.start()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        rest = Events(events[: LONG // 2])
        rest.receive(client, "/generate", body)
        assert rest.reply() == reply


def test_a_drained_server_finishes_its_events_and_a_stopped_one_says_so(server: Server, session: str) -> None:
    """Whichever comes first: the client resumes where another server is ready."""
    events, body = Events(), story(session, max_steps=LONG)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        threading.Timer(0.1, server.process.terminate).start()
        events.receive(client, "/generate", body)
    assert server.process.wait(60) == 0
    server.start()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        if not events.has_all:
            events.receive(client, "/generate", body)
        assert events.reply()["step"] == client.get(f"/sessions/{session}").json()["step"]


@needs_nginx
def test_nginx_passes_each_event_on_at_once_and_each_hang_up(server: Server, tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", [server.port]) as proxy:
        headers = {"X-Request-ID": "behind-nginx"}
        with httpx.Client(base_url=proxy.url, timeout=60, headers=headers) as client:
            events = Events()
            events.receive(client, "/generate", story(max_steps=15_000), most=1)
        server.wait_for_log('"id":"behind-nginx".*"status":499|"status":499.*"id":"behind-nginx"')
        with httpx.Client(base_url=proxy.url, timeout=60) as client:
            events.clear()
            events.receive(client, "/generate", story())
            assert len(events) == 26


def test_the_id_of_the_end_leaves_nothing_to_send(client: httpx.Client) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "end"}
    response = client.post("/generate", json=story(), headers=headers)
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Last-Event-ID": "7"}, story(), 400, "bad_header"),
        ({"Last-Event-ID": "-.1.-.00000000"}, story(), 409, "event_mismatch"),
        ({"Last-Event-ID": "0.1.1.00000000"}, story("s"), 409, "event_mismatch"),
        ({"Idempotency-Key": "k"}, story(), 400, "bad_header"),
        ({}, story(prompt="the Z"), 422, "invalid_field"),
        ({}, story(session="s", at=7), 404, "unknown_session"),
    ],
)
def test_errors_before_the_first_event_are_those_of_any_reply(
    client: httpx.Client, headers: dict[str, str], body: Any, status: int, code: str
) -> None:
    response = client.post("/generate", json=body, headers={"Accept": "text/event-stream"} | headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


def test_an_older_reply_of_a_websocket_is_sent_in_events(
    client: httpx.Client, server: Server, utterance: list[list[float]], session: str
) -> None:
    """The session holds the replies to several frames; each is the reply to the same request."""
    opening = {"model": "vowels", "session": session, "return": "all"}
    frames = [utterance[:7], utterance[7:9], utterance[9:]]
    with connect(server.url.replace("http", "ws") + "/stream") as socket:
        socket.send(orjson.dumps(opening).decode())
        at = orjson.loads(socket.recv())["step"]
        for steps_ in frames:
            socket.send(orjson.dumps({"steps": steps_, "at": at}).decode())
            at = orjson.loads(socket.recv())["step"]
    events = Events()
    sequence = {"steps": frames[0], "session": session, "at": 0}
    events.receive(client, "/predict", {"model": "vowels", "sequences": [sequence], "return": "all"})
    (prediction,) = events.reply()["predictions"]
    assert (prediction["step"], len(prediction["output"])) == (7, 7)
    assert client.get(f"/sessions/{session}").json()["step"] == len(utterance)


def test_the_commands_of_the_page_work_as_typed(client: httpx.Client, server: Server) -> None:
    curl, program = steps(ROOT / "docs/sse.md")
    typed = curl.text.replace("localhost:8000", server.url.removeprefix("http://"))
    done = subprocess.run(["bash", "-euc", f"{typed} --silent"], capture_output=True, timeout=60)
    received = [event.split(b"\n") for event in done.stdout.split(b"\n\n")[:-1]]
    pairs = [(name.decode()[7:], data[6:]) for name, _, data in received]
    assert joined(pairs)["step"] == len("the ") + 3 and len(pairs) == 4
    defined: dict[str, Any] = {}
    exec(program.text, defined)
    events = [(name, orjson.dumps(data)) for name, data in defined["events"](client, story())]
    assert len(joined(events)["ids"]) == 25
