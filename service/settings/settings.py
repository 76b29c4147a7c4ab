"""All settings as one frozen value, and what follows from several of them."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, SecretStr, ValidationError, model_validator

from service import cpus, memory
from service.errors import StartupError
from service.settings import sources
from service.settings.access import Authentication, Browsers, Network
from service.settings.group import Group
from service.settings.models import Batching, Models
from service.settings.reports import Logging, Metrics, Traces
from service.settings.requests import Requests
from service.settings.sessions import Sessions
from service.settings.streams import Streams

GROUPS: dict[str, type[Group]] = {  # by their headings in `serve --help`
    "Network": Network,
    "Authentication": Authentication,
    "Models": Models,
    "Batching": Batching,
    "Sessions": Sessions,
    "Request limits": Requests,
    "Streams": Streams,
    "Metrics": Metrics,
    "Browsers and proxies": Browsers,
    "Logging": Logging,
    "Traces": Traces,
}
MAX_AUTO_WORKERS = 16  # each worker loads every model; set `workers` explicitly for more


class Settings(
    Traces, Logging, Browsers, Metrics, Streams, Requests, Sessions, Batching, Models, Authentication, Network
):
    """A frozen value. Each field is `CELLGATE_<NAME>` in the environment and `<name>` in a TOML file."""

    _cpus: int = PrivateAttr(default_factory=cpus.usable)  # of this machine, counted once for all workers

    @model_validator(mode="after")
    def _memory_is_not_shared(self) -> Self:
        if self.store == "memory" and self.workers > 1:
            raise ValueError("the memory store is not shared by workers: use one worker or another store")
        return self

    @model_validator(mode="after")
    def _default_ttl_is_within_the_bound(self) -> Self:
        if self.session_ttl_s > self.session_max_ttl_s:
            raise ValueError("session_ttl_s is greater than session_max_ttl_s")
        return self

    def with_cpus(self, cpus: int) -> Self:
        """The same settings on a machine with so many CPUs."""
        changed = self.model_copy()
        changed._cpus = cpus
        return changed

    @property
    def num_workers(self) -> int:
        """Worker processes: `workers`, or one for each CPU; one with the memory store."""
        if self.workers or self.store == "memory":
            return self.workers or 1
        return min(self._cpus, MAX_AUTO_WORKERS)

    @property
    def request_memory(self) -> int:
        """Bytes that requests in progress of one worker may use: `request_memory_bytes`, or its share."""
        return self.request_memory_bytes or memory.usable() // 2 // self.num_workers

    @property
    def num_threads(self) -> int:
        """ONNX Runtime threads of one worker: `threads`, or its share of the CPUs."""
        return self.threads or max(1, self._cpus // self.num_workers)

    @property
    def serves_ui(self) -> bool:
        """Whether there is a page at `/ui`."""
        return self.ui == "on" or (self.ui == "auto" and _is_loopback(self.host))

    @property
    def shares_cores(self) -> bool:
        """Whether workers use each other's cores: each has one thread, and there is one CPU for each."""
        has_one_core = self.num_threads == 1 and self._cpus == self.num_workers
        return self.share_cores and self.num_workers > 1 and has_one_core

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Self:
        """Merge flags over `environ` over `file` (or `CELLGATE_CONFIG`) over defaults.

        Raises StartupError, naming the option and where it came from.
        """
        read = sources.read(flags, environ, file, known=cls.model_fields)
        try:
            return cls.model_validate(sources.merge(read))
        except ValidationError as error:
            secrets = {name for name, field in cls.model_fields.items() if field.annotation is SecretStr}
            raise StartupError(sources.explain(error, read, secrets=secrets)) from error


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to bind."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
