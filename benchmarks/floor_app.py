"""The lower bound of HTTP and JSON: a plain ASGI application that parses the body and sends a constant reply.

uvicorn benchmarks.floor_app:app
"""

from typing import Any

import orjson

REPLY = orjson.dumps(
    {
        "model": "lstm-1x128",
        "version": "1",
        "predictions": [
            {"output": [0.1112233 + i / 1e4 for i in range(9)], "label": "3", "probability": 0.1112233}
        ],
    }
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request; a body must be JSON."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if body:
        orjson.loads(body)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": REPLY})
