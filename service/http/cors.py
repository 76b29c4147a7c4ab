"""Cross-origin resource sharing (the Fetch standard, 3.2): pages of which origins may call this server.

The rules are those of Starlette's middleware. The gate applies them, so they hold for errors and on the fast
path too. API keys travel in headers that a page sets itself, so no credentials of the browser are needed.
"""

from collections.abc import Collection

from service.errors import BadRequest
from service.http.messages import Headers, Request, Response

ANY = "*"
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = (
    b"Allow, Content-Disposition, Idempotent-Replayed, Inference-Header-Content-Length, Retry-After, "
    b"Server-Timing, X-Request-ID"
)
MAX_AGE_S = 600  # for which a browser remembers the answer


class Cors:
    """Answers preflight requests, and marks the responses that a page may read."""

    def __init__(self, origins: Collection[str]) -> None:
        """`origins`: as `https://app.example.org`; or `*`, for any."""
        self._allows_any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def preflight(self, request: Request) -> Response | None:
        """The answer to a preflight request; None if this is none. It has no key (3.2.2).

        Raises BadRequest if the origin or the method may not be used.
        """
        names = dict(request.headers)
        origin, method = names.get(b"origin"), names.get(b"access-control-request-method")
        if request.method != "OPTIONS" or origin is None or method is None:
            return None
        if not self.allows(origin):
            raise BadRequest(f"the origin {origin.decode('latin-1')!r} is not one of cors_origins")
        if method not in METHODS.split(b", "):
            raise BadRequest(f"the method {method.decode('latin-1')!r} is not allowed to other origins")
        headers = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
            (b"vary", b"access-control-request-headers"),
        ]
        if wanted := names.get(b"access-control-request-headers"):
            headers.append((b"access-control-allow-headers", wanted))
        return Response(204, headers, b"")

    def mark(self, request: Headers, response: Headers) -> None:
        """Add to a response's headers whether the page that sent the request may read it."""
        if not self._allows_any:
            response.append((b"vary", b"origin"))
        origin = next((value for name, value in request if name == b"origin"), None)
        if origin is not None and self.allows(origin):
            response.append((b"access-control-allow-origin", b"*" if self._allows_any else origin))
            response.append((b"access-control-expose-headers", EXPOSED))

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin have access."""
        return self._allows_any or origin in self._origins
