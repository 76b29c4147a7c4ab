"""A file as a response: its type, its tag for caches, and what browsers may do with it.

It knows nothing of which files there are.
"""

from hashlib import sha256
from pathlib import PurePath

from fastapi import Request
from starlette.responses import Response

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
PERMISSIONS = "microphone=(self), camera=(), geolocation=()"  # the playground records for models of sound


def policy(*, scripts: tuple[str, ...] = (), styles: tuple[str, ...] = ()) -> str:
    """The Content-Security-Policy of a page: only scripts and styles of this server, no frame around it.

    `scripts`, `styles`: hashes of those within the page that are used too; by default there are none.
    """
    return (
        f"default-src 'none'; script-src {_sources(scripts)}; style-src {_sources(styles)}; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sources(hashes: tuple[str, ...]) -> str:
    return " ".join(["'self'", *(f"'{each}'" for each in hashes)])


class File:
    """One file, ready to be sent."""

    def __init__(self, name: str, content: bytes, content_security_policy: str) -> None:
        """`name`: its ending, one of `TYPES`, decides the type."""
        self._content = content
        self._headers = {
            "content-type": TYPES[PurePath(name).suffix],
            "cache-control": "no-cache",
            "etag": f'"{sha256(content).hexdigest()[:16]}"',
            "content-security-policy": content_security_policy,
            "permissions-policy": PERMISSIONS,
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    def answer(self, request: Request) -> Response:
        """The file, or 304 if the browser has it, perhaps compressed (RFC 9110, 13.1.2: weak comparison)."""
        known = request.headers.get("if-none-match", "").split(",")
        if self._headers["etag"] in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
