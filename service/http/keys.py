"""API keys and tenants: who is asking, and how much they may.

A keys file is TOML, one table per tenant:

    [acme]
    keys = ["sha256:9f86…"]        # `cellgate keys new acme` makes one
    requests_per_s = 200           # of all workers of this server together; may come in bursts of one second
    max_sessions = 10_000
    max_session_bytes = 50_000_000

Keys are 256 random bits, so that a plain SHA-256 of one is as good at rest as a slow hash of a password. A
request's key is hashed, and the hash looked up: how long that takes tells nothing of the keys there are.
"""

import base64
import hashlib
import hmac
import mmap
import secrets
import struct
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service import shared_memory as shared
from service.errors import RateLimited, StartupError, Unauthorized
from service.names import TENANT_NAME
from service.sessions.store import Quota

PREFIX = "sha256:"
BURST_S = 1.0
ROUNDING_S = 1e-6  # of sums of intervals
_TIME = struct.Struct("<d")


class Tenant(BaseModel):
    """One table of the keys file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[Annotated[str, Field(pattern=f"^{PREFIX}[0-9a-f]{{64}}$")], ...] = Field(
        min_length=1, description="SHA-256 of each API key"
    )
    requests_per_s: float | None = Field(None, gt=0, description="of all workers together; none = unlimited")
    max_sessions: int | None = Field(None, ge=1, description="most live sessions; none = the server's bound")
    max_session_bytes: int | None = Field(None, ge=1, description="most bytes of its sessions' records")

    @property
    def quota(self) -> Quota | None:
        """What the session store holds it to."""
        if self.max_sessions is None and self.max_session_bytes is None:
            return None
        return Quota(self.max_sessions or 2**62, self.max_session_bytes or 2**62)


@dataclass(slots=True, frozen=True)
class Tenants:
    """All tenants by name. None configured: everybody is the tenant ""."""

    by_name: Mapping[str, Tenant]

    @classmethod
    def load(cls, file: Path | None, inline: str) -> Self:
        """Read the keys file, and `tenant=sha256:…` entries separated by commas. Raises StartupError."""
        tables = _read_file(file) if file else {}
        for entry in filter(None, (part.strip() for part in inline.split(","))):
            name, separator, key = entry.partition("=")
            if not separator:
                raise StartupError(
                    "keys: expected tenant=sha256:<64 hexadecimal digits>, separated by commas"
                )
            tables.setdefault(name, {}).setdefault("keys", []).append(key)
        tenants = {}
        for name, table in tables.items():
            if not TENANT_NAME.fullmatch(name):
                raise StartupError(f"keys: {name!r} is no tenant's name: letters, digits, '.', '_' and '-'")
            try:
                tenants[name] = Tenant.model_validate(table)
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(map(str, (name, *fault["loc"])))
                raise StartupError(f"keys: {where}: {fault['msg']}") from error
        hashes = [key for tenant in tenants.values() for key in tenant.keys]
        if len(set(hashes)) < len(hashes):
            raise StartupError("keys: two tenants share a key, or one is there twice")
        return cls(tenants)

    @property
    def quotas(self) -> dict[str, Quota]:
        """The limits on sessions, by tenant."""
        return {name: tenant.quota for name, tenant in self.by_name.items() if tenant.quota is not None}


class Guard:
    """Says whose request it is, or refuses it."""

    def __init__(self, tenants: Tenants, rates: "Rates") -> None:
        self._by_hash = {
            bytes.fromhex(key.removeprefix(PREFIX)): name
            for name, tenant in tenants.by_name.items()
            for key in tenant.keys
        }
        self._rates = rates

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The tenant whose key the request carries. Raises Unauthorized or RateLimited."""
        key = _key_of(headers)
        if key is None:
            raise Unauthorized("an API key is needed: `Authorization: Bearer KEY`, or `X-API-Key: KEY`")
        tenant = self._by_hash.get(hashlib.sha256(key).digest())
        if tenant is None:
            raise Unauthorized("this API key is not known here")
        self._rates.take(tenant)
        return tenant


class Rates:
    """How often each tenant may ask, for all workers of a server: one number a tenant, in memory they share.

    The generic cell rate algorithm (ITU-T I.371): a tenant's time of next conforming arrival moves on by
    1 / rate with each request, and may be ahead of the clock by `BURST_S`. Two workers that move it in the
    same microsecond count one request instead of two.
    """

    def __init__(
        self, tenants: Tenants, file: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock  # the same in every process of a host
        limited = {name: tenant.requests_per_s for name, tenant in tenants.by_name.items()}
        rates = {name: rate for name, rate in limited.items() if rate is not None}
        self._slots = {
            name: (place * _TIME.size, 1 / rate) for place, (name, rate) in enumerate(rates.items())
        }
        size = max(1, len(rates)) * _TIME.size
        self._memory = mmap.mmap(-1, size) if file is None else shared.open_memory(file, size)

    def take(self, tenant: str) -> None:
        """Count a request. Raises RateLimited, and then counts nothing."""
        slot = self._slots.get(tenant)
        if slot is None:
            return
        place, interval = slot
        now = self._clock()
        due = max(now, _TIME.unpack_from(self._memory, place)[0])
        if due - now > max(BURST_S - interval, 0.0) + ROUNDING_S:
            raise RateLimited(
                f"more than {1 / interval:g} requests a second", retry_after_s=max(1, round(due - now))
            )
        _TIME.pack_into(self._memory, place, due + interval)


def new_key() -> tuple[str, str]:
    """A fresh API key, and its entry for the keys file."""
    key = "cg_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return key, PREFIX + hashlib.sha256(key.encode()).hexdigest()


def _key_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if hmac.compare_digest(scheme.lower(), b"bearer"):
                return key.strip()
    return None


def _read_file(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"keys file {file}: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise StartupError(f"keys file {file}: {name!r} must be a table: [{name}]")
    return tables
