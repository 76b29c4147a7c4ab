"""Closed loop over WebSockets: the next frame of a session when a reply is there. Prints one JSON line.

Runs in the peers' environment: `stream_client.py '{"port": 8000, "sockets": 16, …}'`, see `Load`. Sessions
share the sockets as channels. Frames are built before; only their step is filled in. picows parses in C:
against an echo it shows what this client itself can do.
"""

import asyncio
import json
import resource
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass

import picows  # type: ignore[import-not-found]  # installed in the peers' environment
import uvloop

HEAD = struct.Struct("<HBBIq")  # a binary frame: channel, flags, 0, steps, at
HAS_AT = 2


@dataclass(frozen=True)
class Load:
    """What is sent, and for how long."""

    port: int
    path: str  # of the WebSocket
    sockets: int
    sessions: int
    in_flight: int  # frames of a session without a reply
    seconds: float
    steps: list[list[float]]  # one for each frame, in turn
    is_binary: bool
    is_echo: bool  # the server sends frames back, and opens nothing
    prefix: str  # of the sessions' names


class Channel:
    """One session: its frames, and when those without a reply were sent."""

    def __init__(self, load: Load, number: int, name: str) -> None:
        self.opening = {"channel": number, "session": name, "max_frames_in_flight": load.in_flight}
        self.opening["encoding"] = "binary" if load.is_binary else "json"
        self.step = 0
        self.sent: deque[float] = deque()
        self._number = number
        self._is_binary = load.is_binary
        self._next = number
        self._frames = [
            struct.pack(f"<{len(step)}f", *step)
            if load.is_binary
            else b'{"channel":%d,"steps":[%b],"at":' % (number, json.dumps(step).encode())
            for step in load.steps
        ]

    def frame(self) -> bytes:
        """The next frame; its reply is due from now on."""
        self._next = (self._next + 1) % len(self._frames)
        payload, step = self._frames[self._next], self.step + len(self.sent)
        self.sent.append(time.perf_counter())
        if self._is_binary:
            return HEAD.pack(self._number, HAS_AT, 0, 1, step) + payload
        return b"%b%d}" % (payload, step)


class Socket(picows.WSListener):  # type: ignore[misc]
    """The sessions of one socket."""

    def __init__(self, load: Load, channels: list[Channel], figures: "Figures") -> None:
        self.opened = asyncio.get_running_loop().create_future()
        self._load = load
        self._channels = channels
        self._figures = figures
        self._num_unopened = 0 if load.is_echo else len(channels)
        self._type = picows.WSMsgType.BINARY if load.is_binary else picows.WSMsgType.TEXT

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Open the channels."""
        self._transport = transport
        for channel in self._channels if self._num_unopened else ():
            transport.send(picows.WSMsgType.TEXT, json.dumps(channel.opening).encode())
        if not self._num_unopened:
            self.opened.set_result(None)

    def start(self) -> None:
        """Send the first frames."""
        for channel in self._channels:
            for _ in range(self._load.in_flight):
                self._transport.send(self._type, channel.frame())

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Record the time of a reply, and send the session's next frame."""
        if frame.msg_type not in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY):
            return
        message = frame.get_payload_as_bytes()
        if self._num_unopened:
            self._open(message)
            return
        channel = self._channels[self._channel_of(message)]
        if not self._figures.add(channel.sent.popleft(), message):
            return
        channel.step += 1
        transport.send(self._type, channel.frame())

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        """The server has closed it, or the load is over."""
        self._figures.disconnected += 1

    def _open(self, message: bytes) -> None:
        reply = json.loads(message)
        if "error" in reply:
            raise RuntimeError(f"a channel was not opened: {reply}")
        self._channels[reply["channel"]].step = reply["step"]
        self._num_unopened -= 1
        if not self._num_unopened:
            self.opened.set_result(None)

    def _channel_of(self, message: bytes) -> int:
        if message[:1] != b"{":
            return message[0] | message[1] << 8
        start = message.index(b'"channel":') + len(b'"channel":')
        return int(message[start : message.index(b",", start)])


class Figures:
    """Replies of the whole load, once `begin` was called and until `end`."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.errors = 0
        self.disconnected = 0
        self.replies = 0  # in all
        self._is_counting = self._is_over = False

    def begin(self) -> None:
        """What is answered from now on counts."""
        self._is_counting = True

    def end(self) -> None:
        """Send nothing any more."""
        self._is_over = True

    def add(self, sent: float, message: bytes) -> bool:
        """Count a reply; whether the load continues."""
        if b'"error"' in message:
            self.errors += 1
        self.replies += 1
        if self._is_counting and not self._is_over:
            self.latencies.append(time.perf_counter() - sent)
        return not self._is_over


async def run(load: Load) -> dict[str, float]:
    """Connect, open, send for a tenth of the time to warm up, measure."""
    figures = Figures()
    sockets = []
    each = load.sessions // load.sockets
    for place in range(load.sockets):
        names = [f"{load.prefix}{place}-{number}" for number in range(each)]
        channels = [Channel(load, number, name) for number, name in enumerate(names)]
        url = f"ws://127.0.0.1:{load.port}{load.path}"
        _, socket = await picows.ws_connect(lambda c=channels: Socket(load, c, figures), url)
        sockets.append(socket)
    await asyncio.gather(*[socket.opened for socket in sockets])
    for socket in sockets:
        socket.start()
    await asyncio.sleep(load.seconds / 10)
    begun, cpu = time.perf_counter(), _cpu_s()
    figures.begin()
    await asyncio.sleep(load.seconds)
    figures.end()
    seconds, cpu = time.perf_counter() - begun, _cpu_s() - cpu
    latencies = sorted(figures.latencies) or [0.0]
    return {
        "requests_per_s": len(figures.latencies) / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "errors": figures.errors + figures.disconnected,
        "client_cpu_us": cpu / max(1, len(figures.latencies)) * 1e6,
        "replies": figures.replies,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(Load(**json.loads(sys.argv[1]))))) + "\n")
