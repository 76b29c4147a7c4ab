"""API keys and tenants: whose request it is, and the bounds of each tenant.

A keys file is TOML, one table per tenant:

    [acme]
    keys = ["sha256:9f86…"]        # or a table [[acme.keys]] for each, as `cellgate keys new acme` writes it
    requests_per_s = 200           # over all workers of this server; bursts of one second are allowed
    max_sessions = 10_000
    max_session_bytes = 50_000_000
    admin = false                  # true: it may also steer versions, and load and unload models

A key is 256 random bits, so a plain SHA-256 of it is as safe at rest as a slow hash of a password. The key of
a request is hashed and the hash looked up: the time this takes reveals nothing about the keys that exist.
"""

import base64
import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import StartupError, Unauthorized
from service.http.messages import Header
from service.http.rates import Rates
from service.names import TENANT_NAME, TENANT_NAME_RULE
from service.sessions import Quota

PREFIX = "sha256:"
UNLIMITED = 2**62


class Tenant(BaseModel):
    """One table of the keys file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[Annotated[str, Field(pattern=f"^{PREFIX}[0-9a-f]{{64}}$")], ...] = Field(
        min_length=1, description="SHA-256 of each API key"
    )
    requests_per_s: float | None = Field(None, gt=0, description="over all workers; none = unlimited")
    max_sessions: int | None = Field(None, ge=1, description="most live sessions; none = the server's bound")
    max_session_bytes: int | None = Field(None, ge=1, description="most bytes of its sessions' records")
    admin: bool = Field(False, description="whether it may steer versions, and load and unload models")

    @property
    def quota(self) -> Quota | None:
        """The bounds on its sessions; None where it has none of its own."""
        if self.max_sessions is None and self.max_session_bytes is None:
            return None
        return Quota(self.max_sessions or UNLIMITED, self.max_session_bytes or UNLIMITED)


@dataclass(slots=True, frozen=True)
class Tenants:
    """All tenants by name. With none configured the server is open, and every client is the tenant ""."""

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
        tenants = {name: _tenant(name, table) for name, table in tables.items()}
        hashes = [key for tenant in tenants.values() for key in tenant.keys]
        if len(set(hashes)) < len(hashes):
            raise StartupError("keys: a key occurs twice, in one tenant or in two")
        return cls(tenants)

    def is_admin(self, tenant: str) -> bool:
        """Whether a tenant may steer versions. The tenant "" of an open server is not one of them."""
        return tenant in self.by_name and self.by_name[tenant].admin

    @property
    def quotas(self) -> dict[str, Quota]:
        """The bounds on sessions, by tenant."""
        return {name: tenant.quota for name, tenant in self.by_name.items() if tenant.quota is not None}

    @property
    def rates(self) -> dict[str, float]:
        """Requests per second, by tenant; those without a limit are left out."""
        limits = {name: tenant.requests_per_s for name, tenant in self.by_name.items()}
        return {name: rate for name, rate in limits.items() if rate is not None}


class Guard:
    """Finds the tenant of a request, or refuses it."""

    def __init__(self, tenants: Tenants, rates: Rates) -> None:
        self._by_hash = {
            bytes.fromhex(key.removeprefix(PREFIX)): name
            for name, tenant in tenants.by_name.items()
            for key in tenant.keys
        }
        self._rates = rates

    def admit(self, headers: Iterable[Header]) -> str:
        """The tenant whose key the request carries. Raises Unauthorized or RateLimited."""
        key = _key_of(headers)
        if key is None:
            raise Unauthorized("an API key is required: `Authorization: Bearer KEY`, or `X-API-Key: KEY`")
        tenant = self._by_hash.get(hashlib.sha256(key).digest())
        if tenant is None:
            raise Unauthorized("this API key is unknown")
        self._rates.count(tenant)
        return tenant

    def counter(self, tenant: str) -> Callable[[], None] | None:
        """What counts one more request of a tenant, and raises RateLimited; None: it has no limit."""
        return self._rates.counter(tenant)


def new_key() -> tuple[str, str]:
    """A new API key, and its entry for the keys file."""
    key = "cg_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return key, PREFIX + hashlib.sha256(key.encode()).hexdigest()


def _key_of(headers: Iterable[Header]) -> bytes | None:
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if hmac.compare_digest(scheme.lower(), b"bearer"):
                return key.strip()
    return None


def _tenant(name: str, table: dict[str, Any]) -> Tenant:
    if not TENANT_NAME.fullmatch(name):
        raise StartupError(f"keys: {name!r} is not a tenant's name: {TENANT_NAME_RULE}")
    try:
        return Tenant.model_validate(table)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, (name, *fault["loc"])))
        raise StartupError(f"keys: {where}: {fault['msg']}") from error


def _read_file(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"keys file {file}: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise StartupError(f"keys file {file}: {name!r} must be a table: [{name}]")
        if isinstance(table.get("keys"), list):
            table["keys"] = [_entry(key) for key in table["keys"]]
    return tables


def _entry(key: Any) -> Any:
    """A table `[[acme.keys]]` as its entry in a list; anything else as it is, to be validated."""
    return PREFIX + str(key["sha256"]) if isinstance(key, dict) and key.keys() == {"sha256"} else key
