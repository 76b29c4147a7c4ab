"""A proxy before each server, which does to a request what the request's X-Fault header asks for.

    client ─ X-Fault: lose-reply ─→ proxy ─→ server commits ─→ reply ─→ witness ─x client

The client's plan chooses the faults, so a seed says which request they befall. Where nothing else is asked
for, a proxy waits for the server's reply even if nobody will get it: so it is known when a request is over.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

from tests.faults import wire
from tests.faults.history import Blow, Fault
from tests.faults.wire import Message
from tests.faults.witness import Sending, Witness

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]

BAD_GATEWAY = wire.reply("502 Bad Gateway", {"Retry-After": "0", "Connection": "close"})


class Proxy:
    """Listens on a port of loopback, before the first of `servers`; doubles go to the next one."""

    def __init__(self, servers: Sequence[int], witness: Witness) -> None:
        self._servers = servers  # ports
        self._witness = witness
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await wire.read(reader)
            if request is not None:
                blow = Blow.parse(request.header("X-Fault") or str(Blow()))
                self._witness.faults[blow.fault] += 1
                await self._answer(writer, request, blow)
        except ConnectionError:  # to the client, who may be cut off too
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, request: Message, blow: Blow) -> None:
        if blow.fault is Fault.LOSE_REQUEST:
            return
        if blow.fault in (Fault.HALVE_REQUEST, Fault.HANG_UP):
            await self._leave(request, blow)
            return
        if blow.fault is Fault.DELAY:
            await asyncio.sleep(blow.delay_s)
        forwards = [self._forward(request, self._servers[0])]
        if blow.fault is Fault.DOUBLE:
            forwards.append(self._forward(request, self._servers[1 % len(self._servers)]))
        reply = (await asyncio.gather(*forwards))[0]
        if reply is None or blow.fault is Fault.LOSE_REPLY:
            return
        writer.write(reply.raw[: len(reply.raw) // 2] if blow.fault is Fault.HALVE_REPLY else reply.raw)
        await writer.drain()
        await _close(writer)

    async def _forward(self, request: Message, server: int) -> Message | None:
        """The server's reply; None when it died over it."""
        sending = Sending.parse(request.header("X-Request-ID") or "")
        with self._witness.watching(sending):
            try:
                reply = await wire.ask(server, request)
            except OSError:
                return BAD_GATEWAY
        if reply is not None:
            self._witness.hear(sending, reply)
        return reply

    async def _leave(self, request: Message, blow: Blow) -> None:
        """Send half of the request or all of it, and go."""
        sent = request.raw if blow.fault is Fault.HANG_UP else request.raw[: len(request.raw) // 2]
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self._servers[0])
            writer.write(sent)
            await asyncio.sleep(blow.delay_s)  # the server is at work, or has just committed
            writer.transport.abort()


@contextlib.asynccontextmanager
async def _listening(serve: Serve) -> AsyncIterator[int]:
    """A listener, by port. Whoever is still served at the end is cut off here, and waited for.

    asyncio knows no tasks of ours: at the end of its loop Python 3.11 complains of each one it cancels.
    """
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Once all is sent."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def proxies(servers: Sequence[int], witness: Witness) -> AsyncIterator[list[Proxy]]:
    """One before each server, by port."""
    async with contextlib.AsyncExitStack() as stack:
        started = []
        for index in range(len(servers)):
            proxy = Proxy([*servers[index:], *servers[:index]], witness)
            proxy.port = await stack.enter_async_context(_listening(proxy._serve))
            started.append(proxy)
        yield started


class StoreProxy:
    """Before Redis: passes everything on, until told to cut connections when Redis has run a command."""

    def __init__(self, redis: int) -> None:
        self._redis = redis
        self._doomed: set[int] = set()  # connections, by number, whose next reply is dropped
        self._open: set[int] = set()
        self.port = 0
        self.num_dropped = 0

    def drop_replies(self, rng: random.Random) -> None:
        """To the next command on each of about half of the connections."""
        self._doomed |= {number for number in self._open if rng.random() < 0.5}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = id(writer)
        try:
            behind, to_redis = await asyncio.open_connection("127.0.0.1", self._redis)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(number)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, to_redis))
                pumps.create_task(self._pump(behind, writer, number))
        finally:
            self._open.discard(number)
            self._doomed.discard(number)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies_of: int | None = None
    ) -> None:
        """Until either side is gone; then the other goes too."""
        try:
            while chunk := await reader.read(1 << 16):
                if replies_of in self._doomed:
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
    """Before a Redis, by port."""
    proxy = StoreProxy(redis)
    async with _listening(proxy._serve) as proxy.port:
        yield proxy
