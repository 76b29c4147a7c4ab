"""Settings → logging → uvicorn: one process, or a parent that keeps `workers` of them alive."""

import functools
import logging
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.app import Cellgate
from service.engine import choose_provider
from service.logs import configure
from service.settings import Settings

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> Cellgate:
    """The application of one process; workers, which start afresh, have their logs to set up too."""
    configure(settings)
    return Cellgate(settings)


def run(settings: Settings) -> None:
    """Serve until a signal says stop. Raises StartupError when the settings ask for what is not there."""
    configure(settings)
    provider = choose_provider(settings.provider)
    logger.info(
        "provider %s: %s; %d workers of %d threads",
        settings.provider,
        provider,
        settings.num_workers,
        settings.num_threads,
    )
    config = uvicorn.Config(
        functools.partial(create_app, settings),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.num_workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request came from
        ws="none",
        lifespan="on",
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    if settings.num_workers > 1:
        Multiprocess(config, [config.bind_socket()]).run()
        return
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        sys.exit(1)
