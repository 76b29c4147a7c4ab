"""A stream on a transport that remembers, and the parts behind it. No tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
from websockets.frames import Frame, Opcode

from service.http.messages import Request
from service.http.stream_bounds import StreamBounds
from service.http.stream_handshake import Accepted
from service.http.stream_socket import StreamSocket
from service.memory import MemoryBudget
from service.predict import Aside, Streams
from tests.service.predict.parts import Parts

BOUNDS = StreamBounds(max_channels=2, max_frame_bytes=1000, idle_s=100, ping_s=10)
TURNS = 40  # of the event loop: more than a frame takes


class Wire(asyncio.Transport):
    """Remembers what reached it. `unread`: bytes that its client has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads, self.is_aborted, self.is_closed = True, False, False
        self.unread = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return default


class World:
    """A stream, and the parts behind it."""

    def __init__(self, *versions: str, parts: Parts | None = None) -> None:
        """`versions`: of the model m; default: one. `parts`: those behind it, already there."""
        self.parts = parts or Parts(*versions)
        self.now = 0.0
        self.wire = Wire()
        self.memory = MemoryBudget(1 << 20)
        self.lost: list[StreamSocket] = []
        streams = Streams(
            self.parts.repository, self.parts.sessions, Aside(), cast(Any, None), None, self.memory,
            max_in_flight=2, max_steps=20, max_reply_bytes=1 << 20, timeout_s=10,
            clock=asyncio.get_running_loop().time,
        )  # fmt: skip
        self.socket = StreamSocket(
            self.wire, streams, BOUNDS, Request("GET", "/stream", []), Accepted([], ()),
            clock=lambda: self.now, count=None, on_lost=self.lost.append,
        )  # fmt: skip

    def send(self, **message: Any) -> None:
        self.receive(Frame(Opcode.TEXT, orjson.dumps(message)))

    def receive(self, frame: Frame) -> None:
        self.socket.data_received(frame.serialize(mask=True))

    async def answers(self) -> list[Any]:
        """What was written since the last call: objects, and (opcode, payload) of control frames."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        written, self.wire.written = self.wire.written, b""
        answers: list[Any] = []
        while written:
            size = written[1]
            start = 2
            if size == 126:
                size, start = int.from_bytes(written[2:4], "big"), 4
            payload, opcode = written[start : start + size], written[0] & 0xF
            written = written[start + size :]
            answers.append(orjson.loads(payload) if opcode == Opcode.TEXT else (opcode, payload))
        return answers

    async def opened(self) -> "World":
        self.send(session="s", model="m")
        assert (await self.answers())[0]["step"] == 0
        return self


def run(work: Callable[[World], Awaitable[None]], *versions: str) -> None:
    """Run an async test of a stream on a model of those versions."""

    async def body() -> None:
        await work(World(*versions))

    asyncio.run(body())


def closing(code: int) -> bytes:
    """The payload of a close frame."""
    return code.to_bytes(2, "big")
