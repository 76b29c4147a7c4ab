"""Ports for servers that are killed and started again on the same port."""

import random
import socket

# Below the ports of outgoing connections on Linux (32768 and up): one of those could occupy a port while its
# server is down.
FIRST, LAST = 12_000, 32_000


def free_port() -> int:
    """A TCP port on loopback that is free, and that no outgoing connection uses."""
    while True:
        port = random.SystemRandom().randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
