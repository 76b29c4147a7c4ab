"""Streams whose client keeps the state: a token in each reply, and a session that begins from one."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import Server
from tests.e2e.streams import Stream

Steps = list[list[float]]


@pytest.fixture
def stream(server: Server) -> Iterator[Stream]:
    with Stream(server.url) as opened:
        yield opened


@pytest.fixture
def token(client: httpx.Client, utterance: Steps) -> str:
    """The state after 7 steps."""
    body = {"sequences": [utterance[:7]], "return_state": True}
    state: str = first(client.post("/predict", json=body))["state"]
    return state


def test_each_reply_has_the_state_after_it(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    stream.open(session, return_state=True)
    for at, row in enumerate(utterance):  # in flight together
        stream.send(steps=[row], at=at)
    answers = [stream.receive() for _ in utterance]
    for at in (0, 6, 18):
        rest = {"steps": utterance[at + 1 :], "state": answers[at]["state"]}
        body = {"sequences": [rest], "return_state": True}
        answer = first(client.post("/predict", json=body))
        assert (answer["output"], answer["state"]) == (answers[-1]["output"], answers[-1]["state"])
    refused = stream.ask(channel=1, session=session, encoding="binary", return_state=True)
    assert refused["error"]["pointer"] == "/return_state"


@pytest.mark.parametrize("encoding", ["json", "binary"])
def test_a_stream_begins_a_session_from_a_token_once(
    stream: Stream,
    server: Server,
    client: httpx.Client,
    utterance: Steps,
    session: str,
    token: str,
    encoding: str,
) -> None:
    whole = first(predict(client, utterance))
    opening = {"encoding": encoding, "state": token}

    def ask(on: Stream, begin: int, stop: int) -> tuple[int, list[float]]:
        if encoding == "json":
            answer = on.ask(steps=utterance[begin:stop], at=begin)
            return answer["step"], np.array(answer["output"], np.float32).tolist()
        on.send_binary(utterance[begin:stop], at=begin)
        _, _, step, rows = on.receive_binary()
        return step, rows[-1].tolist()

    assert stream.open(session, **opening)["step"] == 7
    begun = ask(stream, 7, 12)
    with Stream(server.url) as again:  # the first reply was lost: the same opening, with `at`
        assert again.open(session, at=7, **opening)["step"] == 12
        assert ask(again, 7, 12) == begun
        step, output = ask(again, 12, 20)
    assert (step, output) == (20, np.array(whole["output"], np.float32).tolist())
    with Stream(server.url) as other:
        refused = other.ask(session=session, **opening)
        assert (refused["error"]["code"], refused["error"]["step"]) == ("session_exists", 20)
        later = other.ask(session=f"{session[:100]}-x", at=3, **opening)
        assert later["error"]["code"] == "session_conflict"
        other.open(session, at=20)


def test_a_first_frame_is_the_same_request_to_predict(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str, token: str
) -> None:
    stream.open(session, state=token, return_state=True)
    streamed = stream.ask(steps=utterance[7:9], at=7)
    sequence = {"steps": utterance[7:9], "session": session, "at": 7, "state": token}
    body = {"sequences": [sequence], "return_state": True}
    assert first(client.post("/predict", json=body)) | {"channel": 0} == streamed
    assert client.get(f"/sessions/{session}").json()["step"] == 9


def test_a_token_that_is_refused_opens_no_channel(
    stream: Stream, utterance: Steps, session: str, token: str
) -> None:
    refused = stream.ask(session=session, state=token[:-1])
    assert (refused["error"]["code"], refused["error"]["pointer"]) == ("invalid_state", "/state")
    assert refused["closed"] and stream.open(session, state=token)["step"] == 7
    bad = stream.ask(steps=[[0.0]], at=7)
    assert bad["error"]["code"] == "wrong_shape"
    assert stream.ask(steps=utterance[7:8], at=7)["step"] == 8, "a bad frame leaves the beginning"
