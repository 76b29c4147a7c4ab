"""`GET /ui`: the page in the server, from files of the package. It loads nothing from other servers.

The page knows nothing that a client could not: it uses the documented API, with the key that its user enters.
"""

from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.files import File, policy
from service.errors import NotFound

PAGE = "index.html"


def build(*, is_on: bool) -> APIRouter:
    """The page and its files, which are read once. `is_on`: whether there is a page."""
    router = APIRouter(include_in_schema=False)
    if not is_on:
        return router
    folder = files("service").joinpath("ui")
    pages = {each.name: File(each.name, each.read_bytes(), policy()) for each in folder.iterdir()}

    @router.get("/ui")
    async def page(request: Request) -> Response:
        return pages[PAGE].answer(request)

    @router.get("/ui/{name}")
    async def file(request: Request, name: str) -> Response:
        if name not in pages or name == PAGE:  # its links are relative to /ui
            raise NotFound(f"no route {request.url.path}; the page is at /ui")
        return pages[name].answer(request)

    return router
