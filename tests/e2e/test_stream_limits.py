"""Keys, rates and bounds of streams, on one server; and a client by a second library."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import wsproto
from websockets.exceptions import ConnectionClosed, InvalidStatus
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from tests.e2e.server import Server, running
from tests.e2e.streams import Stream

Steps = list[list[float]]
KEY, SLOW = "acme-secret", "slow-secret"
MAX_BYTES, IN_FLIGHT = 8192, 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("streams")
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, SLOW)]
    (folder / "keys.toml").write_text(
        f'[acme]\nkeys = ["sha256:{hashes[0]}"]\n[slow]\nkeys = ["sha256:{hashes[1]}"]\nrequests_per_s = 3\n'
    )
    with running(
        folder, keys_file=str(folder / "keys.toml"), cors_origins="https://app.example.org", max_streams="4",
        max_stream_channels="2", max_stream_frame_bytes=str(MAX_BYTES), max_frames_in_flight=str(IN_FLIGHT),
        stream_compression="true",
    ) as started:  # fmt: skip
        yield started


def connect(server: Server, key: str = KEY, **options: Any) -> Stream:
    return Stream(server.url, **{"additional_headers": {"Authorization": f"Bearer {key}"}} | options)


def refusal(server: Server, **options: Any) -> tuple[int, dict[str, Any]]:
    """The status and the problem that an upgrade gets."""
    with pytest.raises(InvalidStatus) as refused:
        Stream(server.url, **options)
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"")


def test_a_wrong_key_is_refused_before_the_upgrade(server: Server) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}):
        status, problem = refusal(server, additional_headers=headers)
        assert (status, problem["code"]) == (401, "unauthorized")


def test_a_browser_offers_its_key_as_a_subprotocol(server: Server, session: str) -> None:
    encoded = base64.urlsafe_b64encode(KEY.encode()).rstrip(b"=").decode()
    offered = ["cellgate.v1", f"cellgate.key.{encoded}"]
    with Stream(server.url, subprotocols=offered, origin="https://app.example.org") as stream:
        assert stream.socket.subprotocol == "cellgate.v1"
        assert stream.open(session)["step"] == 0
    assert encoded not in server.log.read_text()
    status, problem = refusal(server, subprotocols=offered, origin="https://evil.example")
    assert (status, problem["code"]) == (403, "origin_refused")


def test_a_message_that_is_too_large_closes_the_socket(server: Server, session: str) -> None:
    for compression in (None, "deflate"):
        with connect(server, compression=compression) as stream:
            stream.open(session)
            stream.socket.send(b" " * (MAX_BYTES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                stream.receive()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_messages_may_be_compressed(server: Server, session: str, utterance: Steps) -> None:
    with connect(server, compression="deflate") as stream, connect(server) as plain:
        stream.open(session)
        plain.open(f"{session[-99:]}-plain")
        for at in range(3):
            answers = [each.ask(steps=utterance[:9], at=9 * at) for each in (stream, plain)]
            assert answers[0]["output"] == answers[1]["output"]


def test_channels_and_streams_are_bounded(server: Server, session: str) -> None:
    with connect(server) as stream:
        for channel in range(2):
            stream.open(session, channel=channel)
        answer = stream.ask(channel=2, session=session)
        assert (answer["error"]["code"], answer["closed"]) == ("too_many_streams", True)
        with connect(server), connect(server), connect(server):
            headers = {"Authorization": f"Bearer {KEY}"}
            status, problem = refusal(server, additional_headers=headers)
        assert (status, problem["code"]) == (429, "too_many_streams")


def test_frames_count_against_the_rate_of_their_tenant(
    server: Server, session: str, utterance: Steps
) -> None:
    with connect(server, SLOW) as stream:
        stream.open(session)
        for _ in range(10):
            stream.send(steps=[utterance[0]])
        answers = [stream.receive() for _ in range(10)]
    errors = [answer["error"] for answer in answers if "error" in answer]
    assert errors and {error["code"] for error in errors} == {"rate_limited"}
    assert errors[0]["retry_after_s"] >= 1
    steps = [answer["step"] for answer in answers if "step" in answer]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) + len(errors) == 10


def test_more_frames_than_may_be_in_flight_wait(server: Server, session: str, utterance: Steps) -> None:
    with connect(server) as stream:
        assert stream.open(session, max_frames_in_flight=99)["limits"]["max_frames_in_flight"] == IN_FLIGHT
        for at in range(40):
            stream.send(steps=[utterance[0]], at=at)
        assert [stream.receive()["step"] for _ in range(40)] == list(range(1, 41))


def test_a_client_that_closes_its_sending_side_gets_its_replies(
    server: Server, session: str, utterance: Steps
) -> None:
    with connect(server) as stream:
        stream.open(session)
        for row in utterance[:3]:
            stream.send(steps=[row])
        stream.socket.socket.shutdown(socket.SHUT_WR)
        assert [stream.receive()["step"] for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ConnectionClosed):
            stream.receive()


def test_a_client_by_another_library_reads_and_is_read(
    server: Server, session: str, utterance: Steps
) -> None:
    peer = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        events = received(connection, peer)
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        connection.sendall(peer.send(Request("127.0.0.1", "/stream", extra_headers=headers)))
        assert isinstance(next(events), AcceptConnection)
        for message in ({"session": session}, {"steps": utterance[:2], "at": 0}):
            connection.sendall(peer.send(TextMessage(json.dumps(message))))
            event = next(events)
            assert isinstance(event, TextMessage)
        assert json.loads(event.data)["step"] == 2
        connection.sendall(peer.send(CloseConnection(1000)))
        closed = next(events)
        assert isinstance(closed, CloseConnection) and closed.code == 1000


def received(connection: socket.socket, peer: wsproto.WSConnection) -> Iterator[Any]:
    while True:
        yield from peer.events()
        peer.receive_data(connection.recv(1 << 16) or None)


def test_a_stream_has_one_line_in_the_access_log(server: Server, session: str, utterance: Steps) -> None:
    with connect(server, additional_headers={"X-API-Key": KEY, "X-Request-ID": "by-its-id"}) as stream:
        stream.open(session)
        stream.ask(steps=utterance[:2])
    server.wait_for_log("by-its-id")
    lines = [line for line in server.log_lines() if line.get("id") == "by-its-id"]
    assert len(lines) == 1
    expected = {"path": "/stream", "status": 101, "close_code": 1000, "frames": 1, "channels": 1}
    assert lines[0] | expected == lines[0]
