"""A second port that shows the metrics alone: it answers also while the workers hang, or are all busy."""

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server

from service.errors import StartupError
from service.metrics import Metrics, Workers
from service.settings import Settings


@contextlib.contextmanager
def metrics_port(settings: Settings, metrics: Metrics) -> Iterator[None]:
    """Serve the metrics of all workers in a thread of this process, if the settings name a port for it.

    Raises StartupError.
    """
    if not settings.metrics_port:
        yield
        return
    registry = CollectorRegistry()
    registry.register(Workers(metrics.registry.described, metrics.registry.read))
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StartupError(f"cannot listen on {host}:{port} (metrics_port): {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
