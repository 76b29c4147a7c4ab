"""The proxies themselves: they let go of everybody at the end, without a word."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.faults.proxy import proxies, store_proxy
from tests.faults.witness import Witness


@contextlib.asynccontextmanager
async def before_server(port: int) -> AsyncIterator[int]:
    async with proxies([port], Witness()) as (proxy,):
        yield proxy.port


@contextlib.asynccontextmanager
async def before_redis(port: int) -> AsyncIterator[int]:
    async with store_proxy(port) as proxy:
        yield proxy.port


@pytest.mark.parametrize("before", [before_server, before_redis])
def test_who_is_still_connected_at_the_end_is_cut_off_and_nobody_complains(
    before: Callable[[int], AbstractAsyncContextManager[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """On Python 3.11 there was a traceback for each, from within asyncio."""

    async def body(silent: int) -> None:
        async with before(silent) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in opened:
                writer.write(b"GET /half HTTP")
            await asyncio.sleep(0.05)  # they are served by now
        for reader, writer in opened:
            with contextlib.suppress(ConnectionError, TimeoutError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.transport.abort()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(body(silent.getsockname()[1]))
    assert not caplog.records
