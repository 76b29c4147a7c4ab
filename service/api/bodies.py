"""JSON bodies of the documented routes, within the bounds of `codec.bounds`, and read aside if large.

FastAPI reads a body of any structure, on the event loop. It knows no route.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.codec.fields import parse_object
from service.errors import CellgateError, InvalidField

LARGE_BODY = 64 << 10  # bytes; such a body is read within some 5 ms
MAX_MEMBERS = 64  # of the object that is the body; pydantic reports each that it does not know


class BoundedRequest(Request):
    """A request whose body is read within bounds."""

    fault: CellgateError | None = None  # why the body was refused

    async def json(self) -> Any:
        """The body's object. What it raises, FastAPI would translate: so the error is kept in `fault`."""
        body = await self.body()
        try:
            return await asyncio.to_thread(parse, body) if len(body) > LARGE_BODY else parse(body)
        except CellgateError as error:
            self.fault = error
            raise


class BoundedRoute(APIRoute):
    """A route whose JSON is read within bounds."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, for a `BoundedRequest`."""
        handle = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive)
            try:
                return await handle(bounded)
            except Exception:
                if bounded.fault is not None:
                    raise bounded.fault from None
                raise

        return handle_bounded


def parse(body: bytes) -> dict[str, Any]:
    """The body's object. Raises InvalidJson, InvalidField or TooManyValues."""
    document = parse_object(body)
    if len(document) > MAX_MEMBERS:
        raise InvalidField(f"expected an object of a few fields, got {len(document)} of them", pointer="")
    return document
