"""The address a server listens on: reserved once, bound by every worker. And how many connections fit."""

import errno
import logging
import resource
import socket
import time
from typing import Any

from service.errors import StartupError
from service.http.connection import SPARE

RESERVE_S = 2.0
OTHER_FILES = 128  # that a worker has open beside its connections: store, models, pipes
MIN_CONNECTIONS = 8

logger = logging.getLogger(__name__)


class WorkerSocket(socket.socket):
    """An address that each worker binds for itself, so that the kernel spreads connections over the workers.

    Workers that accept from one shared socket share unevenly: the one that wakes first takes a whole burst.
    The parent's own socket never listens; unpickled in a worker, it is a new socket on the same address.
    """

    @classmethod
    def reserve(cls, host: str, port: int, *, patience_s: float = RESERVE_S) -> "WorkerSocket":
        """Bind an address that no other server uses. Raises StartupError.

        The workers of a killed server end within a moment: for `patience_s` the address is tried again.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        deadline = time.monotonic() + patience_s
        while True:
            try:
                # Without SO_REUSEPORT, or two servers could share a port.
                with socket.socket(family) as probe:
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
        """One more socket on an address that this server has reserved."""
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


def log_address(bound: socket.socket) -> None:
    """Log where the server listens."""
    host, port = bound.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)


def connections_within(max_connections: int) -> int:
    """As many connections as each worker has file descriptors for, at most `max_connections`.

    Raises this process's limit, which workers inherit, as far as it may. Without a free descriptor, clients
    would be reset, and the server could not open its own files.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit == resource.RLIM_INFINITY:
        return max_connections
    room = max(
        MIN_CONNECTIONS, (limit - OTHER_FILES) * SPARE // (SPARE + 1)
    )  # `SPARE`: refused with an answer
    if room < max_connections:
        logger.warning(
            "max_connections is %d for each worker, not %d: a process may open %d files (ulimit -n)",
            room,
            max_connections,
            limit,
        )
    return min(room, max_connections)
