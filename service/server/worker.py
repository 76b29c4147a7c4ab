"""One worker process: the ASGI application that uvicorn runs in it, from its start to its stop."""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
from pathlib import Path

from service.app import running
from service.errors import StartupError
from service.http import AsgiAdapter, Gate, Receive, Scope, Send
from service.logs import configure
from service.server.drain import drain_on_signals
from service.settings import Settings

PR_SET_PDEATHSIG = 1
FOLLOW_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class WorkerApp:
    """Starts the service with ASGI's lifespan, answers by its gate, and stops it.

    `gate` (for the fast path) exists from the start on; no connection is accepted before.
    """

    gate: Gate
    _asgi: AsgiAdapter

    def __init__(self, settings: Settings, shared: Path, *, skips_faulty: bool = False) -> None:
        """`shared`: a folder for all workers of this server alone; `skips_faulty`: as in `app.running`."""
        self._settings = settings
        self._shared = shared
        self._skips_faulty = skips_faulty

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one run of the server (ASGI lifespan protocol)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._asgi(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with running(
                self._settings,
                shared=self._shared,
                skips_faulty=self._skips_faulty,
                on_failure=_stop_this_process,
            ) as application:
                self.gate, self._asgi = application.gate, application.asgi
                drain_on_signals(self.gate, self._settings.drain_s)
                following = asyncio.get_running_loop().create_task(_follow_parent(os.getppid()))
                await send({"type": "lifespan.startup.complete"})
                await receive()
                following.cancel()
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": error.detail})
            return
        await send({"type": "lifespan.shutdown.complete"})


def create_worker(settings: Settings, shared: Path, *, skips_faulty: bool = False) -> WorkerApp:
    """The application of this process. A worker of several starts afresh, and has its logs to set up."""
    configure(settings)
    if multiprocessing.parent_process() is not None:
        _die_with_parent()
        # Ctrl-C reaches the parent and the workers. The parent passes it on as SIGTERM: one signal lets
        # requests finish, a second one does not.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return WorkerApp(settings, shared, skips_faulty=skips_faulty)


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent has died, by whatever means (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def _follow_parent(parent: int) -> None:
    """Stop when the parent process has been killed. The parent of a server of one process is just a shell."""
    if multiprocessing.parent_process() is None:
        return
    while os.getppid() == parent:
        await asyncio.sleep(FOLLOW_EVERY_S)
    logger.error("the parent process has died; stopping")
    _stop_this_process()


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
