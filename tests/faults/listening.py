"""A listener on a loopback port, whose connections are all closed at its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """A listener; its port. Connections that are open at the end are cut, and their tasks awaited.

    Otherwise asyncio cancels the tasks when its loop ends, and Python 3.11 logs a traceback for each.
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
        open_tasks = list(tasks)
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close the connection after everything is sent."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
