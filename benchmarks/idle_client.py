"""Opens streams and leaves them idle: `idle_client.py '{"port": 8000, "sockets": 10000, "step": […]}'`.

Each has one session, which has done one step. Runs in the peers' environment. Prints a line when all are
open; ends with its input.
"""

import asyncio
import json
import sys
from typing import Any

import picows  # type: ignore[import-not-found]  # installed in the peers' environment
import uvloop

AT_ONCE = 64  # sockets that are being opened


class Idle(picows.WSListener):  # type: ignore[misc]
    """One stream."""

    def __init__(self, name: str, step: list[float]) -> None:
        self.stepped = asyncio.get_running_loop().create_future()
        self._messages = [{"session": name, "max_frames_in_flight": 1}, {"steps": [step]}]

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Open the channel."""
        self._send(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Send the step, then nothing."""
        if frame.msg_type != picows.WSMsgType.TEXT:
            return
        reply = json.loads(frame.get_payload_as_bytes())
        if "error" in reply:
            self.stepped.set_exception(RuntimeError(f"refused: {reply}"))
        elif self._messages:
            self._send(transport)
        else:
            self.stepped.set_result(None)

    def _send(self, transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, json.dumps(self._messages.pop(0)).encode())


async def run(load: dict[str, Any]) -> None:
    """Open all, then wait for the end of the input."""
    url = f"ws://127.0.0.1:{load['port']}/stream"
    kept: list[Any] = []

    async def open_one(number: int) -> None:
        connected = await picows.ws_connect(lambda: Idle(f"idle-{number}", load["step"]), url)
        await connected[1].stepped
        kept.append(connected)

    for first in range(0, load["sockets"], AT_ONCE):
        await asyncio.gather(*[open_one(number) for number in range(first, first + AT_ONCE)])
    sys.stdout.write(f"{len(kept)}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.argv[1])))
