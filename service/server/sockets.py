"""The address a server listens on: reserved once, bound by every worker."""

import errno
import logging
import socket
import time
from typing import Any

from service.errors import StartupError

RESERVE_S = 2.0

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
