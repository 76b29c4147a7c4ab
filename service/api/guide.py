"""`GET /docs/guide/`: the website of docs/, of the version that is installed. `deploy.site` builds it.

It knows the files of the website, and no page's content except which inline scripts may run.
"""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.api.files import TYPES, File, policy
from service.errors import NotFound

LINK = "[Guide of this version](docs/guide/)"  # Markdown, as seen from /docs
FOLDER = Path(__file__).parents[1] / "guide"  # in a wheel of a release, and after `make site`
PAGE = "index.html"
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
ADDED_STYLE = re.compile(
    rb"'(\.[^'\\]{1000,}\})'"
)  # CSS within a script, which adds it to the page: the search


def installed() -> Path | None:
    """The folder of the website, or None if this installation has none."""
    return FOLDER if (FOLDER / PAGE).is_file() else None


def build(folder: Path | None) -> APIRouter:
    """The website in `folder`: files are listed now, and read when they are requested. None: no website."""
    router = APIRouter(include_in_schema=False)
    names = _names(folder) if folder else frozenset()
    styles = _styles(folder) if folder else ()

    @router.get("/docs/guide")
    async def start() -> Response:
        return RedirectResponse("guide/")  # relative: links of the website are, and a proxy may add a prefix

    @router.get("/docs/guide/{name:path}")
    async def file(request: Request, name: str) -> Response:
        if folder is None:
            raise NotFound("this server has no guide: it is off (guide), or not built (make site); see /docs")
        if (name or PAGE) in names:
            return _read(folder, name or PAGE, styles).answer(request)
        if f"{name}/{PAGE}" in names and not name.endswith("/"):
            return RedirectResponse(f"{name.rpartition('/')[2]}/")
        if name.endswith("/") and name + PAGE in names:
            return _read(folder, name + PAGE, styles).answer(request)
        raise NotFound(f"no page {request.url.path}; the guide is at /docs/guide/")

    return router


def _names(folder: Path) -> frozenset[str]:
    """The files below a folder that are served, by their paths relative to it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix in TYPES)
    return frozenset(path.relative_to(folder).as_posix() for path in files)


def _styles(folder: Path) -> tuple[str, ...]:
    """Hashes of the styles that scripts of the website add to a page."""
    scripts = (path.read_bytes() for path in sorted(folder.rglob("*.js")))
    return tuple(_hash(style) for script in scripts for style in ADDED_STYLE.findall(script))


def _read(folder: Path, name: str, styles: tuple[str, ...]) -> File:
    """A file of the website. Raises NotFound if it was removed since the server started."""
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"the guide was replaced and has no {name} now; restart the server") from error
    inline = INLINE.findall(content) if name.endswith(".html") else []
    return File(name, content, policy(scripts=tuple(map(_hash, inline)), styles=styles))


def _hash(source: bytes) -> str:
    return f"sha256-{b64encode(sha256(source).digest()).decode()}"
