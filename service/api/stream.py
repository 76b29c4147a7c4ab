"""The documentation of `GET /stream`, whose upgrade the gate handles without FastAPI."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.api.errors import errors
from service.errors import BadHeader, OriginRefused, TooManyStreams, UpgradeRequired

DESCRIPTION = """Drive sessions frame by frame over a WebSocket (RFC 6455), in JSON or in binary.

The first message of a channel opens it on a session: `{"model": "vowels", "session": "call-42"}`, answered by
the step to continue at. Then each message is a piece of the sequence: `{"steps": [[…]], "at": 120}`, answered
as by `/predict`: `{"channel": 0, "output": […], "session": "call-42", "step": 121}`. A stream that breaks
resumes at the very frame, on any replica.

A browser offers its key as a subprotocol: `cellgate.v1`, `cellgate.key.` with the key as base64url. This page
cannot open a WebSocket; docs/streams.md has the protocol and a client of six lines."""
SWITCHED = {"description": "Switching Protocols: the connection is a WebSocket from now on"}
NO_UPGRADE = "GET /stream is a WebSocket: expected the headers Connection: Upgrade and Upgrade: websocket"


def build() -> APIRouter:
    """The route, as a request meets it that is no handshake."""
    router = APIRouter(tags=["prediction"])

    @router.get(
        "/stream",
        status_code=101,
        response_class=Response,
        description=DESCRIPTION,
        responses=errors(BadHeader, OriginRefused, TooManyStreams, UpgradeRequired(NO_UPGRADE))
        | {101: SWITCHED},
    )
    async def open_stream(
        sec_websocket_protocol: Annotated[  # noqa: ARG001
            str | None, Header(description="for browsers: `cellgate.v1, cellgate.key.<base64url of the key>`")
        ] = None,
    ) -> None:
        raise UpgradeRequired(NO_UPGRADE)

    return router
