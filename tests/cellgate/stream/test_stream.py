"""Streams of the client with a real server, which is killed, and whose sockets break."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from cellgate import AsyncClient, Client
from cellgate.errors import Unauthorized, UnknownModel, WrongShape
from tests.e2e.server import Server, running

Steps = list[list[float]]


@pytest.fixture
def every(client: Client, utterance: Steps) -> list[bytes]:
    """The output after each step, computed at once."""
    output = client.predict_one(utterance, model="vowels", returns="all").output
    return [row.tobytes() for row in output]


@pytest.mark.parametrize("encoding", ["json", "binary"])
@pytest.mark.parametrize("in_flight", [1, 5])
def test_frames_give_the_bits_of_one_shot(
    client: Client, utterance: Steps, every: list[bytes], name: str, encoding: str, in_flight: int
) -> None:
    with client.stream(
        name, model="vowels", encoding=encoding, in_flight=in_flight  # type: ignore[arg-type]
    ) as stream:  # fmt: skip
        outputs = [prediction.output.tobytes() for prediction in stream.run(utterance)]
    assert outputs == every
    with client.session(name, model="vowels") as session:
        assert session.at == 20


def test_sockets_that_break_lose_and_repeat_nothing(
    client: Client, utterance: Steps, every: list[bytes], name: str
) -> None:
    """Replies that were on their way are lost each time."""
    client.sleep = lambda _: None
    with client.stream(name, model="vowels", in_flight=4) as stream:
        outputs = []
        for at, row in enumerate(utterance):
            while not stream._cursor.has_room:
                outputs.append(stream.receive().output.tobytes())
            stream.send(row)
            if at % 5 == 3:
                assert stream._socket is not None
                stream._socket.close()
        outputs += [stream.receive().output.tobytes() for _ in range(stream.in_flight)]
    assert outputs == every
    with client.session(name, model="vowels") as session:
        assert session.at == 20


KEY = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # SHA-256 of "secret"


def test_a_killed_server_changes_nothing_and_no_key_is_lost(tmp_path: Path, utterance: Steps) -> None:
    with (
        running(tmp_path, keys=f"acme=sha256:{KEY}") as server,
        Client(server.url, api_key="secret") as client,
    ):
        with pytest.raises(Unauthorized), Client(server.url, api_key="other").stream("s", model="vowels"):
            pass
        whole = client.predict_one(utterance).output.tobytes()
        with client.stream("stream", in_flight=3) as stream, client.session("session") as session:
            for row in utterance[:3]:
                stream.send(row)
            session.step(utterance[:3])
            server.kill()
            server.start()
            assert [stream.receive().step for _ in range(3)] == [1, 2, 3]
            *_, last = stream.run(utterance[3:])
            assert last.output.tobytes() == session.step(utterance[3:]).output.tobytes() == whole


def test_a_live_source_is_answered_as_it_comes(server: Server, utterance: Steps, name: str) -> None:
    """Each reply is there before the next frame exists, although 8 may be in flight."""
    answered: list[int] = []

    async def run() -> None:
        replied = asyncio.Event()

        async def source() -> AsyncIterator[list[float]]:
            for row in utterance:
                replied.clear()
                yield row
                await replied.wait()

        client = AsyncClient(server.url)
        async with client, client.stream(name, model="vowels", in_flight=8) as stream:
            async for prediction in stream.run(source()):
                answered.append(prediction.step or 0)
                replied.set()

    asyncio.run(run())
    assert answered == list(range(1, 21))


def test_many_streams_at_once(server: Server, utterance: Steps, every: list[bytes], name: str) -> None:
    async def one(client: AsyncClient, number: int) -> list[bytes]:
        async with client.stream(f"{name}{number}"[-128:], model="vowels", in_flight=4) as stream:
            return [prediction.output.tobytes() async for prediction in stream.run(utterance)]

    async def run() -> list[list[bytes]]:
        async with AsyncClient(server.url) as client:
            return await asyncio.gather(*(one(client, number) for number in range(10)))

    assert asyncio.run(run()) == [every] * 10


def test_a_consumer_that_leaves_early_leaves_nothing_behind(
    server: Server, utterance: Steps, name: str
) -> None:
    async def run() -> int:
        async with AsyncClient(server.url) as client, client.stream(name, model="vowels") as stream:
            replies = stream.run(utterance)
            async for _ in replies:
                break
            await replies.aclose()  # type: ignore[attr-defined]
            return (await stream.step(utterance[1])).step or 0

    assert asyncio.run(run()) >= 2


def test_every_step_and_outputs_by_name(client: Client, utterance: Steps, name: str) -> None:
    with client.stream(name, model="vowels", returns="all") as stream:
        first = stream.step(np.asarray(utterance[:3]))
    assert first.output.shape == (3, 9)
    assert first.labels is not None and len(first.labels) == 3
    with client.stream(name, model="vowels", outputs=["logits", "y"]) as stream:
        assert stream.at == 3
        assert list(stream.step(utterance[3], end=True).outputs) == ["logits", "y"]


def test_texts_and_named_inputs_are_frames_in_json(client: Client, name: str) -> None:
    with client.stream(name, model="letters", in_flight=4) as stream:
        assert [reply.step for reply in stream.run(["the", " cat", " sat"])] == [3, 7, 11]
    with client.stream(f"{name}2"[-128:], model="voice") as stream:
        assert stream.step({"x": [1, 2], "speaker": [10, 1]}).step == 1
        assert stream.step([3, 4]).step == 2


def test_a_stream_begins_from_a_state_and_returns_states(
    client: Client, utterance: Steps, every: list[bytes], name: str
) -> None:
    token = client.predict_one(utterance[:5], model="vowels", return_state=True).state
    with client.stream(name, model="vowels", state=token, return_state=True) as stream:
        stream.send(utterance[5])
        assert stream._socket is not None
        stream._socket.close()
        assert stream.receive().step == 6
        reply = stream.step(utterance[6])
        stream._socket.close()
        assert stream.step(utterance[7]).output.tobytes() == every[7]
    rest = client.predict_one(utterance[7:], model="vowels", state=reply.state)
    assert rest.output.tobytes() == every[-1]


def test_what_is_refused(client: Client, utterance: Steps, name: str) -> None:
    with pytest.raises(UnknownModel), client.stream(name, model="none"):
        pass
    with client.stream(name, model="vowels", encoding="json") as stream:
        with pytest.raises(WrongShape, match="expected 12 numbers"):
            stream.step([1.0])
        assert stream.step(utterance[0]).step == 1
