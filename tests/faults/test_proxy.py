"""The proxies close all connections at the end, without a warning."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.faults.proxy import proxies, store_proxy
from tests.faults.witness import Witness


@contextlib.asynccontextmanager
async def server_proxy(port: int) -> AsyncIterator[int]:
    async with proxies([port], Witness()) as (started,):
        yield started.port


@contextlib.asynccontextmanager
async def redis_proxy(port: int) -> AsyncIterator[int]:
    async with store_proxy(port) as started:
        yield started.port


@pytest.mark.parametrize("proxy", [server_proxy, redis_proxy])
def test_open_connections_are_closed_at_the_end_without_a_warning(
    proxy: Callable[[int], AbstractAsyncContextManager[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """On Python 3.11, asyncio logged a traceback for each."""

    async def body(silent: int) -> None:
        async with proxy(silent) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in opened:
                writer.write(b"GET /half HTTP")
            await asyncio.sleep(0.05)  # all are accepted by now
        for reader, writer in opened:
            with contextlib.suppress(ConnectionError, TimeoutError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.transport.abort()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(body(silent.getsockname()[1]))
    assert not caplog.records
