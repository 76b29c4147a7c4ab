"""Settings → logging → uvicorn: one process, or a parent that keeps `workers` of them alive."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.app import Cellgate, create_clock, create_store, tenants_of
from service.engine.graph import CPU, choose_provider
from service.errors import StartupError
from service.http.protocol import CellgateProtocol
from service.logs import configure
from service.predict import predictor as predict
from service.repository.repository import check_folders
from service.server.supervisor import Supervisor, tell_address
from service.settings import Settings

PR_SET_PDEATHSIG = 1
RESERVE_S = 2.0
CLOSE_S = 3  # after the drain: for the last bytes of replies to leave
STOP_S = 2.0  # after that: for models and store to close

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's, which says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets)
        if self.started and sockets:
            tell_address(sockets[0])


class WorkerSocket(socket.socket):
    """An address that each worker binds for itself, so that the kernel deals connections out among them.

    Workers that accept from one shared socket do not share evenly: whoever wakes first takes a whole burst.
    The parent's own socket never listens; unpickled in a worker, it is a new one on the same address.
    """

    @classmethod
    def reserve(cls, host: str, port: int) -> "WorkerSocket":
        """Bind an address that nobody else uses. Raises StartupError.

        A server that was killed leaves workers that notice within a moment: that long it is tried again.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        deadline = time.monotonic() + RESERVE_S
        while True:
            try:
                with socket.socket(
                    family
                ) as probe:  # without SO_REUSEPORT, or two servers could share a port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
                    port = probe.getsockname()[1]
                # Without SO_REUSEADDR the next server's probe fails although this socket never listens.
                return cls._bind(family, host, port, socket.SO_REUSEPORT)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from error
                time.sleep(0.1)

    @classmethod
    def bind_again(cls, family: int, host: str, port: int) -> "WorkerSocket":
        """One more socket on an address that is ours."""
        return cls._bind(family, host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)

    @classmethod
    def _bind(cls, family: int, host: str, port: int, *options: int) -> "WorkerSocket":
        bound = cls(family)
        try:
            for option in options:
                bound.setsockopt(socket.SOL_SOCKET, option, 1)
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        host, port = self.getsockname()[:2]
        return WorkerSocket.bind_again, (self.family, host, port)


def create_app(settings: Settings, shared: Path, *, skips_faulty: bool = False) -> Cellgate:
    """The application of one process; workers, which start afresh, have their logs to set up too.

    `shared`: an empty folder for all workers of this server, and nobody else.
    """
    configure(settings)
    if multiprocessing.parent_process() is not None:
        _die_with_parent()
        # Ctrl-C reaches the parent and the workers. Theirs comes from the parent, as SIGTERM: one signal lets
        # requests finish, a second one does not.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return Cellgate(settings, shared=shared, skips_faulty=skips_faulty)
    except StartupError as error:
        logger.error("the server cannot start: %s", error.detail)
    except Exception:
        logger.exception("the server cannot start")
    sys.exit(STARTUP_FAILURE)  # which tells the parent not to try again


def _die_with_parent() -> None:
    """Have the kernel ask this process to stop when its parent is gone, by whatever means (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run(settings: Settings) -> None:
    """Serve until a signal says stop. Raises StartupError when the settings ask for what is not there."""
    configure(settings)
    provider = choose_provider(settings.provider)
    _check(settings)
    logger.info(
        "provider %s: %s; %d workers of %d threads%s; hot path %s",
        settings.provider,
        provider,
        settings.num_workers,
        settings.num_threads,
        ", which share cores" if settings.shares_cores and provider == CPU else "",
        "compiled" if str(predict.__file__).endswith(".so") else "in Python",
    )
    with tempfile.TemporaryDirectory(prefix="cellgate-") as folder, _kept(folder):
        _serve(settings, Path(folder))


@contextlib.contextmanager
def _kept(folder: str) -> Iterator[None]:
    """Have those who clean up leave a folder alone, however old its files grow (tmpfiles.d(5))."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that has no locks
            fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _check(settings: Settings) -> None:
    """What each worker would stumble over, said once and before any is started. Raises StartupError.

    It leaves nothing behind: what has to be written to be tried comes after it.
    """
    is_open = not tenants_of(settings).by_name
    create_store(settings)
    check_folders(settings.models_dir)
    is_local = settings.host == "localhost" or settings.host.startswith("127.") or settings.host == "::1"
    if is_open and not is_local:
        logger.warning(
            "open to everybody who can reach %s: no API keys are configured (cellgate keys --help)",
            settings.host,
        )


def _configure(settings: Settings, shared: Path, *, skips_faulty: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        functools.partial(create_app, settings, shared, skips_faulty=skips_faulty),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.num_workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request came from
        http=CellgateProtocol,
        ws="none",
        lifespan="on",
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=CLOSE_S,  # the application has waited `drain_s` before
    )


def _serve(settings: Settings, shared: Path) -> None:
    config = _configure(settings, shared)
    address = WorkerSocket.reserve(settings.host, settings.port)
    create_clock(settings)  # with the folder of sessions, if there is none: the last thing that can be tried
    if settings.num_workers > 1:
        supervisor = Supervisor(
            config,
            [address],
            later=_configure(settings, shared, skips_faulty=True),
            stop_s=settings.drain_s + CLOSE_S + STOP_S,
        )
        supervisor.run()
        if supervisor.could_not_start:
            sys.exit(STARTUP_FAILURE)
        return
    # uvicorn raises them again once it has stopped in good order
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = Server(config)
    # `address` goes on guarding the port. What listens has SO_REUSEADDR, which its connections inherit: those
    # that a killed server leaves half closed would else keep the next one from the port.
    server.run([WorkerSocket.bind_again(address.family, *address.getsockname()[:2])])
    if not server.started:
        sys.exit(STARTUP_FAILURE)
