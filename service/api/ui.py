"""`GET /ui`: the page in the server, from files of the package. It loads nothing from other servers.

The page knows nothing that a client could not: it uses the documented API, with the key that its user enters.
"""

from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import NotFound

# Only scripts and styles of this server run: no inline script, no frame around the page, no other server.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE = "index.html"


def build(*, is_on: bool) -> APIRouter:
    """The page and its files, which are read once. `is_on`: whether there is a page."""
    router = APIRouter(include_in_schema=False)
    if not is_on:
        return router
    folder = files("service").joinpath("ui")
    pages = {each.name: _File(each.name, each.read_bytes()) for each in folder.iterdir()}

    @router.get("/ui")
    async def page(request: Request) -> Response:
        return pages[PAGE].answer(request)

    @router.get("/ui/{name}")
    async def file(request: Request, name: str) -> Response:
        if name not in pages or name == PAGE:  # its links are relative to /ui
            raise NotFound(f"no route {request.url.path}; the page is at /ui")
        return pages[name].answer(request)

    return router


class _File:
    """One file, ready to be sent."""

    def __init__(self, name: str, content: bytes) -> None:
        self._content = content
        self._headers = {
            "content-type": TYPES[name[name.rindex(".") :]],
            "cache-control": "no-cache",
            "etag": f'"{sha256(content).hexdigest()[:16]}"',
            "content-security-policy": POLICY,
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    def answer(self, request: Request) -> Response:
        """The file, or 304 if the browser has it."""
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
