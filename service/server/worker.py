"""One worker process: the ASGI application that uvicorn runs in it, from its start to its stop."""

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path

from service.app import running
from service.errors import StartupError
from service.http import AsgiAdapter, Gate, Receive, Scope, Send
from service.logs import configure
from service.server.drain import drain_on_signals
from service.server.heartbeat import beat
from service.settings import Settings


class WorkerApp:
    """Starts the service with ASGI's lifespan, answers by its gate, and stops it.

    `gate` (for the fast path) exists from the start on; no connection is accepted before.
    """

    gate: Gate
    _asgi: AsgiAdapter

    def __init__(self, settings: Settings, shared: Path) -> None:
        """`shared`: a folder for all workers of this server alone."""
        self._settings = settings
        self._shared = shared
        self._has_failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one run of the server (ASGI lifespan protocol)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._asgi(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with running(self._settings, shared=self._shared, on_failure=self.fail) as application:
                self.gate, self._asgi = application.gate, application.asgi
                drain_on_signals(self.gate, self._settings.drain_s)
                beating = asyncio.get_running_loop().create_task(beat(self._shared))
                await send({"type": "lifespan.startup.complete"})
                await receive()
                beating.cancel()
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": error.detail})
            return
        outcome = "failed" if self._has_failed else "complete"
        await send({"type": f"lifespan.shutdown.{outcome}", "message": "a model's inference loop has failed"})

    def fail(self) -> None:
        """Stop this process, which cannot serve a model any more."""
        self._has_failed = True
        os.kill(os.getpid(), signal.SIGTERM)


def create_worker(settings: Settings, shared: Path) -> WorkerApp:
    """The application of this process. A worker of several starts afresh, and has its logs to set up."""
    configure(settings)
    if multiprocessing.parent_process() is not None:
        # Ctrl-C reaches the parent and the workers. The parent passes it on as SIGTERM: one signal lets
        # requests finish, a second one does not.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return WorkerApp(settings, shared)
