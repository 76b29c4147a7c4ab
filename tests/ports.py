"""Ports for servers that are killed and started again on the same one."""

import random
import socket

# Below the ports that Linux gives to outgoing connections (32768 and up): one of those may take a port while
# the server that had it is down.
FIRST, LAST = 12_000, 32_000


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and no outgoing connection will take."""
    while True:
        port = random.SystemRandom().randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
