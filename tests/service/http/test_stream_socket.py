"""One stream on a transport that remembers: idle, slow, broken and stopping clients."""

from typing import Any, cast

import pytest
from websockets.frames import Frame, Opcode

from service.http import websocket
from service.http.peer import WRITE_S
from service.http.websocket import Reader
from tests.service.http.streams import World, closing, run


def test_frames_are_answered_in_one_write() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1], [2]])
        world.send(steps=[[4]])
        assert [answer["output"] for answer in await world.answers()] == [[3.0], [7.0]]
        assert world.memory.used == 0

    run(work)


def test_a_channel_without_room_stops_reading_until_it_has_some() -> None:
    async def work(world: World) -> None:
        await world.opened()
        for value in range(5):
            world.send(steps=[[value]])
            assert world.wire.reads == (value < 2)
        assert [answer["output"] for answer in await world.answers()] == [[0.0], [1.0], [3.0], [6.0], [10.0]]
        assert world.wire.reads

    run(work)


def test_a_client_that_does_not_read_is_not_read_from_and_then_aborted() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.wire.unread = 10
        world.socket.pause_writing()
        assert not world.wire.reads
        world.socket.check(WRITE_S / 2)
        assert not world.wire.is_aborted
        world.wire.unread = 5
        world.socket.check(WRITE_S - 1)
        world.socket.check(WRITE_S + 1)
        assert not world.wire.is_aborted, "it has read something"
        world.socket.check(3 * WRITE_S)
        assert world.wire.is_aborted

    run(work)


def test_a_client_that_reads_again_is_read_from_again() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.socket.pause_writing()
        world.socket.resume_writing()
        assert world.wire.reads
        world.send(steps=[[1]])
        assert (await world.answers())[0]["step"] == 1

    run(work)


def test_a_silent_client_is_pinged_and_then_aborted() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.socket.check(9)
        assert await world.answers() == []
        world.socket.check(11)
        world.socket.check(15)
        assert await world.answers() == [(Opcode.PING, b"")]
        world.now = 16
        world.receive(Frame(Opcode.PONG, b""))
        world.socket.check(25)
        world.socket.check(27)
        assert await world.answers() == [(Opcode.PING, b"")] and not world.wire.is_aborted
        world.socket.check(38)
        assert world.wire.is_aborted

    run(work)


def test_an_idle_stream_is_closed_however_often_it_pings() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.now = 99
        world.receive(Frame(Opcode.PING, b"here"))
        assert await world.answers() == [(Opcode.PONG, b"here")]
        world.socket.check(101)
        ((opcode, payload),) = await world.answers()
        assert opcode == Opcode.CLOSE and payload.startswith(closing(4408))

    run(work)


def test_a_stop_answers_what_was_read_and_says_the_steps() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1], [2]])
        world.socket.drain()
        world.socket.drain()
        assert not world.wire.reads
        reply, draining, close = await world.answers()
        assert reply["step"] == 2
        assert draining == {"draining": True, "sessions": [{"channel": 0, "session": "s", "step": 2}]}
        assert close[1].startswith(closing(1012))
        world.receive(Frame(Opcode.CLOSE, closing(1012)))
        assert world.wire.is_closed

    run(work)


def test_a_stop_waits_for_a_channel_that_is_being_opened() -> None:
    async def work(world: World) -> None:
        world.send(session="s")
        world.socket.drain()
        opened, draining, _ = await world.answers()
        assert opened["session"] == "s" and draining["sessions"][0]["step"] == 0

    run(work)


@pytest.mark.parametrize("following", [{"close": True}, {"session": "t", "model": "m"}])
def test_a_stop_waits_for_a_channel_that_is_being_closed_or_replaced(following: dict[str, Any]) -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1]])
        world.send(**following)
        world.socket.drain()
        reply, *_, draining, close = await world.answers()
        assert reply["output"] == [1.0] and draining["draining"]
        assert close[1].startswith(closing(1012))

    run(work)


def test_a_client_that_breaks_the_protocol_is_read_no_more() -> None:
    """What it sent until it was disconnected was kept: memory without a bound."""

    async def work(world: World) -> None:
        await world.opened()
        world.socket.data_received(b"\x82\x01x")
        ((opcode, payload),) = await world.answers()
        assert opcode == Opcode.CLOSE and payload.startswith(closing(1002))
        for _ in range(100):
            world.socket.data_received(bytes(1000))
        reader: Reader = cast(Any, world.socket)._reader
        assert len(cast(Any, reader)._data) < 10

    run(work)


def test_a_client_that_closes_only_its_sending_side_gets_its_replies() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1]])
        world.send(steps=[[2]])
        assert world.socket.eof_received(), "the connection stays"
        world.socket.drain()
        pong, *answers = await world.answers()
        assert pong == (Opcode.PONG, b"")
        assert [answer["output"] for answer in answers] == [[1.0], [3.0]]
        assert world.wire.is_closed

    run(work)


def test_an_idle_client_that_closes_its_sending_side_is_closed() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.socket.eof_received()
        assert await world.answers() == [(Opcode.PONG, b"")]
        assert world.wire.is_closed

    run(work)


def test_a_client_that_hangs_up_leaves_nothing_behind() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1], [2], [3]])
        world.socket.connection_lost(None)
        assert world.lost == [world.socket] and world.socket.close_code == 1006
        assert await world.answers() == [] and world.memory.used == 0
        sessions = world.parts.sessions
        assert sessions.turns.take_free(b"\0s"), "the session's turn is free"

    run(work)


def test_messages_are_written_as_a_client_reads_them() -> None:
    assert websocket.write(Opcode.TEXT, b"x" * 200) == b"\x81\x7e\x00\xc8" + b"x" * 200
