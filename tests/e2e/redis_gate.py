"""A TCP proxy in front of Redis that can withhold replies to commits: Redis has run them, no server knows."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

COMMIT_BYTES = 1000  # a longer command holds a session record
CHUNK = 1 << 20


class RedisGate(socketserver.ThreadingTCPServer):
    """Listens on a loopback port and forwards to another one."""

    daemon_threads = True

    def __init__(self, redis_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.redis_port = redis_port
        self.withholds = False
        self.withheld = threading.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}/0"


class _Connection(socketserver.BaseRequestHandler):
    server: RedisGate

    def handle(self) -> None:
        self._is_shut = False
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.redis_port)) as redis,
        ):
            replies = threading.Thread(target=self._pass_replies, args=(redis,))
            replies.start()
            with contextlib.suppress(OSError):
                while command := self.request.recv(CHUNK):
                    if self.server.withholds and len(command) > COMMIT_BYTES:
                        self._is_shut = True
                    redis.sendall(command)
            with contextlib.suppress(OSError):
                redis.shutdown(socket.SHUT_RDWR)
            replies.join()

    def _pass_replies(self, redis: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while reply := redis.recv(CHUNK):
                if self._is_shut:
                    self.server.withheld.set()
                else:
                    self.request.sendall(reply)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def redis_gate(redis_port: int) -> Iterator[RedisGate]:
    """An open gate, closed at the end of the block."""
    with RedisGate(redis_port) as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield opened
        finally:
            opened.shutdown()
            thread.join()
