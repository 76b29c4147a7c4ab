"""A client of `GET /stream` for tests: channels, frames, and the order of answers, one call a message."""

import contextlib
import json
import struct
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from service.sequence import Array

HEAD = struct.Struct("<HBBIq")
PATIENCE_S = 30


class Stream:
    """One connected socket."""

    def __init__(self, url: str, **options: Any) -> None:
        """`url`: of the server, with http:// as its scheme."""
        self._opened = contextlib.ExitStack()
        opening = connect(
            f"ws{url.removeprefix('http')}/stream", **{"compression": None, "max_size": None} | options
        )
        self.socket: ClientConnection = self._opened.enter_context(opening)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send one message, and return the next."""
        self.send(**message)
        return self.receive()

    def receive(self) -> dict[str, Any]:
        text = self.socket.recv(PATIENCE_S)
        assert isinstance(text, str), text
        answer: dict[str, Any] = json.loads(text)
        return answer

    def open(self, session: str, **fields: Any) -> dict[str, Any]:
        opened = self.ask(session=session, **fields)
        assert "error" not in opened, opened
        return opened

    def send_binary(
        self, steps: Any, *, channel: int = 0, at: int | None = None, end: bool = False, dtype: str = "<f4"
    ) -> None:
        array = np.asarray(steps, dtype)
        flags = int(end) | (2 if at is not None else 0)
        self.socket.send(HEAD.pack(channel, flags, 0, len(array), at or 0) + array.tobytes())

    def receive_binary(self) -> tuple[int, int, int, Array]:
        """Channel, flags, step, and the rows."""
        reply = self.socket.recv(PATIENCE_S)
        assert isinstance(reply, bytes), reply
        channel, flags, _, rows, step = HEAD.unpack_from(reply)
        return channel, flags, step, np.frombuffer(reply, "<f4", offset=HEAD.size).reshape(rows, -1)
