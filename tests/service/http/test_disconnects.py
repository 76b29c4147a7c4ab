"""Disconnects: a request that takes long is cancelled, whether or not it has a body; a short one is not."""

import asyncio
from typing import Any

import pytest

from service.http.asgi import AsgiAdapter
from service.http.disconnects import Disconnects
from service.http.fastapi_bridge import Message, Receive
from service.http.messages import ClientDisconnected, Request, Response
from tests.service.http.gates import make_gate

WHOLE: Message = {"type": "http.request", "body": b"ab", "more_body": False}
PART: Message = {"type": "http.request", "body": b"ab", "more_body": True}
DISCONNECT: Message = {"type": "http.disconnect"}


def receive_from(*messages: Message) -> tuple[Receive, list[Message]]:
    """ASGI's `receive`, which waits once it has returned `messages`; and those that are left."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive, left


@pytest.mark.parametrize("reads_body", [False, True])
def test_a_client_that_disconnects_cancels_its_request(reads_body: bool) -> None:
    async def work() -> None:
        receive, _ = receive_from(WHOLE, DISCONNECT)
        with (
            pytest.raises(ClientDisconnected),
            Disconnects().watch(receive, reads_body=reads_body) as watch,
        ):
            if reads_body:
                assert await watch.read_part() == (b"ab", False)
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0, "the task can continue with its next request"
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(work(), 20))


def test_a_request_that_is_answered_at_once_starts_no_task() -> None:
    async def work() -> None:
        disconnects = Disconnects()
        receive, left = receive_from(WHOLE, DISCONNECT)
        with disconnects.watch(receive, reads_body=True) as watch:
            await watch.read_part()
        assert left == [DISCONNECT] and asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())


def test_the_body_is_read_by_its_reader_alone_however_long_it_takes() -> None:
    """A waiter beside the reader would take parts of the body from it."""

    async def work() -> None:
        receive, left = receive_from(PART, PART, WHOLE)
        with Disconnects().watch(receive, reads_body=True) as watch:
            for seen in range(1, 3):
                assert await watch.read_part() == (b"ab", True)
                for _ in range(3):
                    watch.check()
                    await asyncio.sleep(0)
                assert len(left) == 3 - seen
            assert await watch.read_part() == (b"ab", False)

    asyncio.run(work())


def test_a_client_that_disconnects_within_its_body_is_noticed_by_the_reader() -> None:
    async def work() -> None:
        receive, _ = receive_from(PART, DISCONNECT)
        with pytest.raises(ClientDisconnected), Disconnects().watch(receive, reads_body=True) as watch:
            await watch.read_part()
            await watch.read_part()

    asyncio.run(work())


def test_a_cancellation_from_elsewhere_stays_a_cancellation() -> None:
    async def request() -> None:
        receive, _ = receive_from()
        with Disconnects().watch(receive, reads_body=False):
            await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


def test_a_request_without_a_body_is_cancelled_and_logged_once() -> None:
    lines: list[dict[str, Any]] = []
    sent: list[Message] = []

    async def endless(_: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def work() -> None:
        gate = make_gate(application=endless, access_log=lines.append)
        receive, _ = receive_from(WHOLE, DISCONNECT)
        scope = {"type": "http", "method": "GET", "path": "/sessions", "headers": []}
        await AsgiAdapter(gate)(scope, receive, send)
        assert gate.num_running == 0

    asyncio.run(asyncio.wait_for(work(), 20))
    assert sent == [] and [(line["status"], line["code"]) for line in lines] == [(499, "client_disconnected")]
