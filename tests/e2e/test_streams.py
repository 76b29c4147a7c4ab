"""Streams on a real server: the rules of sessions, frame by frame."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.committed import ROOT
from tests.docs.blocks import steps
from tests.e2e.conftest import first, predict
from tests.e2e.server import Server, running
from tests.e2e.streams import Stream

Steps = list[list[float]]


@pytest.fixture
def stream(server: Server) -> Iterator[Stream]:
    with Stream(server.url) as opened:
        yield opened


def outputs(client: httpx.Client, utterance: Steps) -> list[Any]:
    """The output after each step, computed at once."""
    body = {"sequences": [{"steps": utterance}], "return": "all"}
    every: list[Any] = client.post("/predict", json=body).json()["predictions"][0]["output"]
    return every


def test_frames_give_the_answers_of_requests(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    opened = stream.open(session, model="vowels")
    assert opened | {"limits": 0, "version": ""} == {
        "channel": 0, "model": "vowels", "version": "", "session": session, "step": 0, "rewinds": 0,
        "return": "last", "encoding": "json", "width": 12, "dtype": "float32",
        "output": {"width": 9, "dtype": "float32"}, "limits": 0,
    }  # fmt: skip
    every = outputs(client, utterance)
    for at, row in enumerate(utterance):
        answer = stream.ask(steps=[row], at=at)
        assert (answer["channel"], answer["step"], answer["output"]) == (0, at + 1, every[at])
    whole = first(predict(client, utterance))
    assert (answer["label"], answer["probability"]) == (whole["label"], whole["probability"])


def test_frames_in_flight_are_joined_and_each_is_answered(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    every = outputs(client, utterance)
    stream.open(session)
    for at, row in enumerate(utterance):
        stream.send(steps=[row], at=at)
    answers = [stream.receive() for _ in utterance]
    assert [(each["step"], each["output"]) for each in answers] == list(enumerate(every, 1))


def test_binary_frames_give_the_same_bits(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    every = outputs(client, utterance)
    assert stream.open(session, encoding="binary", **{"return": "all"})["return"] == "all"
    stream.send_binary(utterance[:3], at=0)
    stream.send_binary(utterance[3:], at=3, end=True)
    for expected, after, flags in ((every[:3], 3, 0), (every[3:], len(every), 1)):
        channel, actual, step, rows = stream.receive_binary()
        assert (channel, actual, step) == (0, flags, after)
        assert rows.tolist() == np.array(expected, np.float32).tolist()


def test_sessions_share_a_socket(stream: Stream, utterance: Steps, session: str) -> None:
    for channel in range(8):
        stream.open(
            f"{session}{channel}"[-100:], channel=channel, encoding="binary" if channel % 2 else "json"
        )
    for channel in range(0, 8, 2):
        stream.send(channel=channel, steps=utterance)
        stream.send_binary(utterance, channel=channel + 1)
    answers = [stream.socket.recv(30) for _ in range(8)]
    assert sum(isinstance(answer, bytes) for answer in answers) == 4


def test_after_a_break_unanswered_frames_are_sent_again(
    server: Server, client: httpx.Client, utterance: Steps, session: str
) -> None:
    """The replies to several frames in flight are lost with the socket; all are there on the next one."""
    every = outputs(client, utterance)
    with Stream(server.url) as stream:
        stream.open(session)
        for at in range(4):
            stream.send(steps=[utterance[at]], at=at)
        assert stream.receive()["step"] == 1
        for _ in range(3):
            stream.receive()  # and suppose that they were lost
    with Stream(server.url) as stream:
        assert stream.open(session, at=1)["step"] == 4
        for at in range(1, 6):
            stream.send(steps=[utterance[at]], at=at)
        answers = [stream.receive() for _ in range(5)]
        assert [each["output"] for each in answers] == every[1:6]
        assert [each.get("replayed", False) for each in answers] == [True] * 3 + [False] * 2


def test_a_frame_and_a_request_are_each_others_retry(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    reply = first(predict(client, utterance[:2], session=session, at=0))
    assert stream.open(session, at=0)["step"] == 2
    assert stream.ask(steps=utterance[:2], at=0) == {"channel": 0, "replayed": True} | reply
    for at in (2, 3):
        stream.send(steps=[utterance[at]], at=at)
    answers = [stream.receive() for _ in range(2)]
    for at, answer in zip((2, 3), answers, strict=True):
        again = first(predict(client, [utterance[at]], session=session, at=at))
        assert {"channel": 0} | again == answer
    conflict = predict(client, [utterance[5]], session=session, at=3)
    assert (conflict.status_code, conflict.json()["step"]) == (409, 4)


def test_one_bad_frame_among_many_fails_alone(stream: Stream, utterance: Steps, session: str) -> None:
    stream.open(session)
    stream.send(steps=[utterance[0]])
    stream.send(steps=[[1.0]])
    stream.send(steps=[utterance[1]])
    answers = [stream.receive() for _ in range(3)]
    assert answers[0]["step"] == 1 and answers[2]["step"] == 2
    error = answers[1]["error"]
    assert (error["status"], error["code"], error["pointer"]) == (422, "wrong_shape", "/steps/0")


def test_a_conflict_stops_the_channel_until_it_is_opened_again(
    stream: Stream, utterance: Steps, session: str
) -> None:
    stream.open(session)
    assert stream.ask(steps=utterance[:3], at=0)["step"] == 3
    for at in (7, 8, 3):
        stream.send(steps=[utterance[0]], at=at)
    for _ in range(3):
        error = stream.receive()["error"]
        assert (error["code"], error["step"]) == ("session_conflict", 3)
    assert stream.open(session, at=3)["step"] == 3
    assert stream.ask(steps=[utterance[0]], at=3)["step"] == 4


def test_a_frame_after_a_request_that_moved_the_session_runs(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    """The stream's own record of the session was behind, and the frame was refused with the old step."""
    every = outputs(client, utterance)
    stream.open(session, max_frames_in_flight=1)
    assert stream.ask(steps=[utterance[0]], at=0)["step"] == 1
    assert first(predict(client, [utterance[1]], session=session, at=1))["step"] == 2
    answer = stream.ask(steps=[utterance[2]], at=2)
    assert (answer.get("step"), answer.get("output")) == (3, every[2])


def test_a_frame_is_not_the_retry_of_one_before_a_rewind(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    """The stream's own record of the session was behind, and the frame had the reply of the one before."""
    client.put(f"/sessions/{session}", json={"model": "vowels", "history": {"last": 4}}).raise_for_status()
    stream.open(session)
    assert [stream.ask(steps=[utterance[at]], at=at)["step"] for at in range(3)] == [1, 2, 3]
    client.post(f"/sessions/{session}/rewind", json={"step": 2, "at": 3}).raise_for_status()
    error = stream.ask(steps=[utterance[2]], at=2)["error"]
    assert (error["code"], error["step"]) == ("session_conflict", 2)
    assert stream.open(session, at=2)["step"] == 2
    answer = stream.ask(steps=[utterance[2]], at=2)
    assert (answer["step"], answer.get("replayed")) == (3, None)


def test_two_sockets_on_one_session_never_interleave_within_a_frame(
    server: Server, client: httpx.Client, utterance: Steps, session: str
) -> None:
    with Stream(server.url) as one, Stream(server.url) as other:
        streams = [one, other]
        for each in streams:
            each.open(session)

        def talk(each: Stream) -> list[int]:
            for _ in range(20):
                each.send(steps=utterance[:2])
            return [each.receive()["step"] for _ in range(20)]

        with ThreadPoolExecutor(2) as pool:
            steps = [step for part in pool.map(talk, streams) for step in part]
    assert sorted(steps) == list(range(2, 82, 2))
    assert client.get(f"/sessions/{session}").json()["step"] == 80


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"model": "vowels"}, "invalid_field"),
        ({"session": "x", "modell": "vowels"}, "invalid_field"),
        ({"session": "x", "model": "vowel"}, "unknown_model"),
        ({"session": "x", "version": "99"}, "unknown_version"),
        ({"session": "x", "at": 5}, "unknown_session"),
        ({"session": "x", "encoding": "xml"}, "invalid_field"),
        ({"steps": [[1]]}, "unknown_channel"),
        ({"close": True}, "unknown_channel"),
    ],
)
def test_an_opening_that_is_refused_leaves_the_socket_open(
    stream: Stream, session: str, message: dict[str, Any], code: str
) -> None:
    answer = stream.ask(channel=3, **message)
    assert (answer["channel"], answer["closed"], answer["error"]["code"]) == (3, True, code)
    assert stream.open(session)["step"] == 0


@pytest.mark.parametrize("message", ["{", "[]", '{"channel": -1}', b"short"])
def test_what_is_no_message_closes_the_socket(stream: Stream, message: str | bytes) -> None:
    stream.socket.send(message)
    with pytest.raises(ConnectionClosed) as closed:
        stream.socket.recv(30)
    assert closed.value.rcvd is not None and closed.value.rcvd.code in (4400, 4422)


def test_a_channel_is_closed_after_its_frames(stream: Stream, utterance: Steps, session: str) -> None:
    stream.open(session)
    stream.send(steps=utterance[:2])
    stream.send(close=True)
    assert stream.receive()["step"] == 2
    assert stream.receive() == {"channel": 0, "closed": True, "step": 2}
    assert stream.ask(steps=[utterance[0]])["closed"] is True
    assert stream.open(session)["step"] == 2


def test_a_session_that_is_deleted_starts_again(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    stream.open(session)
    assert stream.ask(steps=utterance[:2])["step"] == 2
    assert client.delete(f"/sessions/{session}").status_code == 204
    assert stream.ask(steps=[utterance[0]], at=2)["error"]["code"] == "unknown_session"
    assert stream.ask(steps=utterance[:2])["step"] == 2


def test_what_follows_a_close_is_answered_in_order(stream: Stream, utterance: Steps, session: str) -> None:
    """A close and an opening behind it once left the stream without answers for ever."""
    stream.open(session)
    stream.open(session + "-other", channel=1)
    stream.send(steps=utterance[:2])
    stream.send(close=True)
    stream.send(steps=[utterance[0]])
    stream.send(session=session + "-next", model="vowels")
    stream.send(steps=utterance[:3])
    stream.send(session=session, model="vowels")
    stream.send(close=True)
    stream.send(channel=1, steps=[utterance[0]])
    answers = [stream.receive() for _ in range(8)]
    assert (answers[0]["step"], answers[1]["closed"], answers[1]["step"]) == (2, True, 2)
    assert answers[2]["error"]["code"] == "unknown_channel"
    assert (answers[3]["session"], answers[3]["step"]) == (session + "-next", 0)
    assert answers[4]["step"] == 3
    assert (answers[5]["session"], answers[5]["step"]) == (session, 2)
    assert (answers[6]["closed"], answers[6]["step"]) == (True, 2)
    assert (answers[7]["channel"], answers[7]["step"]) == (1, 1)


def test_a_stream_ends_its_session(
    stream: Stream, client: httpx.Client, utterance: Steps, session: str
) -> None:
    stream.open(session)
    stream.send(steps=utterance[:2], end=True)
    assert stream.receive()["step"] == 2
    assert client.get(f"/sessions/{session}").status_code == 410
    assert stream.ask(steps=[utterance[0]])["step"] == 1, "the name is free"


@pytest.mark.parametrize(("text", "code"), [(b"{", 4400), (b'{"session": "\xff"}', 1007)])
def test_text_that_is_not_json_or_not_utf8_closes_the_stream(server: Server, text: bytes, code: int) -> None:
    with connect(f"{server.url.replace('http', 'ws')}/stream") as socket:
        socket.send(text, text=True)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == code


def test_every_kind_of_upgrade_that_is_refused_gets_a_response(server: Server, client: httpx.Client) -> None:
    plain = client.get("/stream")
    assert (plain.status_code, plain.json()["code"]) == (426, "upgrade_required")
    handshake = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    older = client.get("/stream", headers=handshake | {"sec-websocket-version": "8"})
    assert (older.status_code, older.headers["sec-websocket-version"]) == (426, "13")
    with pytest.raises(InvalidStatus) as refused:
        Stream(server.url, origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403
    assert b"origin_refused" in (refused.value.response.body or b"")
    Stream(server.url, origin=server.url).close()


def test_kill_9_and_continue(tmp_path: Path, utterance: Steps) -> None:
    """Frames in flight are sent again, whether the server had committed them or not."""
    with running(tmp_path) as server:
        with Stream(server.url) as stream:
            stream.open("call-42")
            for at in range(2):
                stream.send(steps=[utterance[at]], at=at)
            assert stream.receive()["step"] == 1
            for at in range(2, 8):
                stream.send(steps=[utterance[at]], at=at)
            server.kill()
            with pytest.raises(ConnectionClosed):
                while True:
                    stream.receive()
        server.start()
        with httpx.Client(base_url=server.url) as client, Stream(server.url) as stream:
            every = outputs(client, utterance)
            assert 1 <= stream.open("call-42", at=1)["step"] <= 8
            for at in range(1, 9):
                stream.send(steps=[utterance[at]], at=at)
            answers = [stream.receive() for _ in range(1, 9)]
    assert [each["output"] for each in answers] == every[1:9]


def test_the_program_of_the_page_works_as_typed(server: Server, client: httpx.Client) -> None:
    (program,) = steps(ROOT / "docs/streams.md")
    typed = program.text.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    done = subprocess.run([sys.executable, "-c", typed], check=True, timeout=120, capture_output=True)
    assert b"'step': " in done.stdout and b"'output': [" in done.stdout
    assert client.delete("/sessions/call-42").status_code == 204
