"""Where the server listens, for whom, and through which proxies."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from service.names import ROOT_PATH
from service.settings.group import Group

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*A-Z]+")  # scheme://host[:port], as browsers send it


class Network(Group):
    """Sockets and processes."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 = any free port")
    workers: int = Field(
        0, ge=0, le=256, description="worker processes, which share the session store; 0 = one for each CPU"
    )
    worker_hang_s: float = Field(
        30,
        ge=0,
        description="kill and replace a worker whose event loop has not run for this long (s); 0 = never",
    )


class Authentication(Group):
    """Keys, and what needs one."""

    keys_file: Path | None = Field(
        None, description="TOML file of tenants and hashes of their API keys; see docs/authentication.md"
    )
    keys: SecretStr = Field(
        SecretStr(""), description="additional keys: tenant=sha256:<hash of a key>, separated by commas"
    )
    admin_access: Literal["key", "open"] = Field(
        "key",
        description="who may change which versions answer: tenants with admin = true in the keys file; open: "
        "also every client of a server without keys",
    )
    state_secret: SecretStr = Field(
        SecretStr(""),
        description="secrets that sign state tokens, the same on all replicas, separated by commas, each of "
        "at least 32 characters; the first signs, all are accepted; with API keys, tokens need one",
    )
    state_secret_file: Path | None = Field(
        None, description="file with such secrets, one a line, which come before those of state_secret"
    )


class Browsers(Group):
    """Pages of other origins, and proxies."""

    cors_origins: str = Field(
        "",
        description="origins whose pages may call this server, separated by commas, such as "
        "https://app.example.org; * = any; empty = none",
    )
    root_path: str = Field(
        "",
        description="path below which a proxy serves this server, such as /ml; requests may come without it",
    )
    forwarded_prefix: bool = Field(
        False,
        description="trust the header X-Forwarded-Prefix, the path that a proxy has cut off, over root_path",
    )
    compress_min_bytes: int = Field(
        16 << 10,
        ge=0,
        description="minimum size of a reply to compress, for clients that accept it; 0 = no compression",
    )

    ui: Literal["auto", "on", "off"] = Field(
        "auto", description="the page at /ui; auto = if the server is bound to this machine only"
    )

    guide: bool = Field(True, description="serve the documentation at /docs/guide, if it is installed")

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str) -> str:
        for origin in _entries(value):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin: expected scheme://host[:port], or *")
        return value

    @field_validator("root_path")
    @classmethod
    def _root_path_is_a_path(cls, value: str) -> str:
        if not ROOT_PATH.fullmatch(path := value.rstrip("/")):
            raise ValueError("expected a path as /ml or /team/ml: letters, digits, and ._~- between slashes")
        return path

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return _entries(self.cors_origins)


def _entries(value: str) -> tuple[str, ...]:
    return tuple(filter(None, (entry.strip() for entry in value.split(","))))
