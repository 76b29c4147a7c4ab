"""Settings → checks → uvicorn: one process, or a parent that keeps `workers` of them alive."""

import functools
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.engine import CPU, choose_provider
from service.http import CellgateProtocol
from service.logs import configure
from service.metrics import Metrics
from service.parts import create_clock, create_store, metrics_of, tenants_of
from service.repository import check_folders
from service.server.closing import ClosingServer
from service.server.folder import shared_folder
from service.server.metrics_port import metrics_port
from service.server.process import ignore_signals
from service.server.sockets import WorkerSocket, connections_within, log_address
from service.server.supervisor import Supervisor
from service.server.worker import create_worker
from service.settings import Settings

CLOSE_S = 3  # after the drain: for the last bytes of responses to leave
STOP_S = 2.0  # after that: for models and store to close
FAILURE = 4  # exit status of a process that has stopped itself because of a bug

logger = logging.getLogger(__name__)


class Server(ClosingServer):
    """The only process, which logs where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets)
        if self.started and sockets:
            log_address(sockets[0])


def run(settings: Settings) -> None:
    """Serve until a signal stops it. Raises StartupError when the settings name what does not exist.

    Raises SystemExit if it ends for any other reason than a signal that asks for it; see docs/operations.md.
    """
    ignore_signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until there is something to stop in good order
    configure(settings)
    provider = choose_provider(settings.provider)
    _check(settings)
    logger.info(
        "provider %s: %s; workers %d, threads of each %d%s",
        settings.provider,
        provider,
        settings.num_workers,
        settings.num_threads,
        ", which share cores" if settings.shares_cores and provider == CPU else "",
    )
    with shared_folder() as folder:
        metrics = metrics_of(folder)  # with those of the workers
        with metrics_port(settings, metrics):
            status = _serve(settings, folder, metrics)
    if status:
        logger.error("stopped with exit status %d", status)
        sys.exit(status)


def _check(settings: Settings) -> None:
    """Find, once and before any worker starts, what each of them would fail on. Raises StartupError.

    It leaves nothing behind: checks that have to write come later.
    """
    is_open = not tenants_of(settings).by_name
    create_store(settings)
    check_folders(settings.models_dir)
    is_local = settings.host == "localhost" or settings.host.startswith("127.") or settings.host == "::1"
    if is_open and not is_local:
        logger.warning(
            "no API keys are configured: every client that can reach %s has access (cellgate keys --help)",
            settings.host,
        )


def _uvicorn_config(settings: Settings, shared: Path) -> uvicorn.Config:
    return uvicorn.Config(
        functools.partial(create_worker, settings, shared),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.num_workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on where a request came from
        http=CellgateProtocol,
        ws="none",
        lifespan="on",
        limit_concurrency=connections_within(settings.max_connections),
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=CLOSE_S,  # the gate has been drained for `drain_s` before
    )


def _serve(settings: Settings, shared: Path, metrics: Metrics) -> int:
    """Serve until a signal stops it; the exit status."""
    config = _uvicorn_config(settings, shared)
    address = WorkerSocket.reserve(settings.host, settings.port)
    create_clock(settings)  # creates the sessions directory: the last check
    if settings.num_workers > 1:
        supervisor = Supervisor(
            config,
            [address],
            stop_s=settings.drain_s + CLOSE_S + STOP_S,
            shared=shared,
            hang_s=settings.worker_hang_s,
            count_death=lambda cause: metrics.worker_deaths.labels(cause).add(),
        )
        supervisor.run()
        return supervisor.exit_status
    # uvicorn raises these signals again once it has stopped in good order.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = Server(config)
    # `address` still guards the port. The socket that listens has SO_REUSEADDR, which its connections
    # inherit: those that a killed server leaves half closed would otherwise block the port for the next one.
    server.run([WorkerSocket.bind_again(address.family, *address.getsockname()[:2])])
    if not server.started:
        return STARTUP_FAILURE
    return FAILURE if server.lifespan.shutdown_failed else 0
