"""The floor of a stream: a WebSocket server that sends every message back. picows and uvloop; `PORT` in argv.

Runs in the peers' environment. `GET /` is answered 404, so that its start can be waited for.
"""

import sys

import picows  # type: ignore[import-not-found]  # installed in the peers' environment
import uvloop


class Echo(picows.WSListener):  # type: ignore[misc]
    """One connection."""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Send a message back."""
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


def accept(request: picows.WSUpgradeRequest) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
    """A stream, or the answer to a check of the start."""
    if request.path == b"/":
        response = picows.WSUpgradeResponse.create_error_response(404)
        return picows.WSUpgradeResponseWithListener(response, None)
    return Echo()


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await picows.ws_create_server(accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
