"""A proxy in front of each server, which applies the fault in a request's X-Fault header.

    client ─ X-Fault: lose-reply ─→ proxy ─→ server commits ─→ reply ─→ witness ─x client

The client's plan chooses the faults, so a seed determines which requests have them. Unless the fault says
otherwise, a proxy waits for the server's reply even if it drops it, so it knows when a request has ended.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

from tests.faults import wire
from tests.faults.answer import from_http
from tests.faults.history import Fault, TimedFault
from tests.faults.listening import close, listening
from tests.faults.wire import Message
from tests.faults.witness import Sending, Witness

BAD_GATEWAY = wire.reply("502 Bad Gateway", {"Retry-After": "0", "Connection": "close"})


class Proxy:
    """Listens on a loopback port for the first of `servers`; doubles go to the next one."""

    def __init__(self, servers: Sequence[int], witness: Witness) -> None:
        self._servers = servers  # ports
        self._witness = witness
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await wire.read(reader)
            if request is not None:
                fault = TimedFault.parse(request.header("X-Fault") or str(TimedFault()))
                self._witness.faults[fault.fault] += 1
                await self._answer(writer, request, fault)
        except ConnectionError:  # of the client's connection, which may be cut, too
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, request: Message, fault: TimedFault) -> None:
        if fault.fault is Fault.LOSE_REQUEST:
            return
        if fault.fault in (Fault.HALVE_REQUEST, Fault.HANG_UP):
            await self._disconnect(request, fault)
            return
        if fault.fault is Fault.DELAY:
            await asyncio.sleep(fault.delay_s)
        forwards = [self._forward(request, self._servers[0])]
        if fault.fault is Fault.DOUBLE:
            forwards.append(self._forward(request, self._servers[1 % len(self._servers)]))
        reply = (await asyncio.gather(*forwards))[0]
        if reply is None or fault.fault is Fault.LOSE_REPLY:
            return
        writer.write(reply.raw[: len(reply.raw) // 2] if fault.fault is Fault.HALVE_REPLY else reply.raw)
        await writer.drain()
        await close(writer)

    async def _forward(self, request: Message, server: int) -> Message | None:
        """The server's reply; None if the server died meanwhile."""
        sending = Sending.parse(request.header("X-Request-ID") or "")
        with self._witness.watching(sending):
            try:
                reply = await wire.send(server, request)
            except OSError:
                return BAD_GATEWAY
        if reply is not None:
            self._witness.record(sending, from_http(reply))
        return reply

    async def _disconnect(self, request: Message, fault: TimedFault) -> None:
        """Send half of the request or all of it, and disconnect."""
        sent = request.raw if fault.fault is Fault.HANG_UP else request.raw[: len(request.raw) // 2]
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self._servers[0])
            writer.write(sent)
            await asyncio.sleep(fault.delay_s)  # the server works on it, or has just committed
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxies(servers: Sequence[int], witness: Witness) -> AsyncIterator[list[Proxy]]:
    """One proxy for each server port."""
    async with contextlib.AsyncExitStack() as stack:
        started = []
        for index in range(len(servers)):
            proxy = Proxy([*servers[index:], *servers[:index]], witness)
            proxy.port = await stack.enter_async_context(listening(proxy._serve))
            started.append(proxy)
        yield started


class StoreProxy:
    """A proxy of Redis. After `drop_replies` it cuts connections when Redis has run a command."""

    def __init__(self, redis: int) -> None:
        self._redis = redis
        self._dropping: set[int] = set()  # ids of connections whose next reply is dropped
        self._open: set[int] = set()
        self.port = 0
        self.num_dropped = 0

    def drop_replies(self, rng: random.Random) -> None:
        """Drop the next reply on each of about half of the connections."""
        self._dropping |= {number for number in self._open if rng.random() < 0.5}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = id(writer)
        try:
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._redis)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(number)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, to_redis))
                pumps.create_task(self._pump(from_redis, writer, number))
        finally:
            self._open.discard(number)
            self._dropping.discard(number)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies_of: int | None = None
    ) -> None:
        """Forward until either side closes; then close the other one."""
        try:
            while chunk := await reader.read(1 << 16):
                if replies_of in self._dropping:
                    self.num_dropped += 1
                    return
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def store_proxy(redis: int) -> AsyncIterator[StoreProxy]:
    """A proxy of the Redis at that port."""
    proxy = StoreProxy(redis)
    async with listening(proxy._serve) as proxy.port:
        yield proxy
