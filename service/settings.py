"""Everything an operator can set, read once at the door: flags over environment over file over default."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from service import cpus
from service.errors import StartupError

PREFIX = "CELLGATE_"
MAX_AUTO_WORKERS = 16  # each holds every model; more is for those who have measured
# Variables with our prefix that are no settings: where the settings file is, and training's data cache.
NOT_SETTINGS = {"CELLGATE_CONFIG", "CELLGATE_DATA_DIR"}


class Settings(BaseModel):
    """One frozen value. Each field is `CELLGATE_<NAME>` in the environment and `<name>` in a TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Where to listen
    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 picks a free one")
    workers: int = Field(
        0, ge=0, le=256, description="server processes, which share the session store; 0 = one a CPU"
    )

    # Who may ask
    keys_file: Path | None = Field(
        None, description="TOML file of tenants and their API keys; see docs/operations.md"
    )
    keys: SecretStr = Field(
        SecretStr(""), description="more of them: tenant=sha256:<hash of a key>, separated by commas"
    )

    # What to serve
    models_dir: Path = Field(Path("models"), description="the model repository: <name>/<version>/model.onnx")
    models_poll_s: float = Field(
        5, ge=0, description="seconds between two looks for new, changed and removed versions; 0 = never look"
    )
    provider: Literal["auto", "cpu", "cuda"] = Field("auto", description="ONNX Runtime execution provider")
    threads: int = Field(
        0, ge=0, le=256, description="ONNX Runtime threads of a worker; 0 = its share of the CPUs"
    )
    share_cores: bool = Field(
        True,
        description="workers of one thread: use another's core too, for few sequences of a large model "
        "in turn, for anything else while it has nothing to do; see docs/operations.md",
    )

    # Batching
    max_batch: int = Field(64, ge=1, description="most sequences in one ONNX Runtime call")
    chunk_steps: int = Field(256, ge=1, description="most time steps of one sequence in one call")
    target_call_ms: float = Field(
        6, gt=0, description="time one call should take; batch and chunk are chosen to fit, from learnt costs"
    )
    inline_call_ms: float = Field(
        2, ge=0, description="a call expected to take longer runs in a thread, so that HTTP goes on"
    )
    max_waiting: int = Field(4096, ge=1, description="most sequences queued a model and worker; beyond: 503")
    max_wait_ms: float = Field(
        2000, gt=0, description="most work queued a model and worker, by learnt costs; beyond: 503"
    )

    # Sessions
    store: Literal["memory", "lmdb", "redis"] = Field("lmdb", description="where sessions live")
    sessions_dir: Path = Field(Path("sessions"), description="LMDB: the directory")
    session_sync: Literal["os", "disk"] = Field(
        "os", description="LMDB: what a commit waits for. os survives kill -9, disk survives power loss"
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis: redis://, rediss:// (TLS), unix://; redis+cluster://, rediss+cluster://",
    )
    redis_timeout_s: float = Field(
        2, gt=0, description="Redis: longest wait for one operation, connecting and trying again included"
    )
    redis_shards: int = Field(
        1, ge=1, le=1024, description="Redis: slots to spread sessions over; fixed once there are sessions"
    )
    session_ttl_s: float = Field(3600, gt=0, description="idle seconds after which a session expires")
    session_max_ttl_s: float = Field(
        30 * 86400, gt=0, description="longest idle time that a client can ask for, for a session of its own"
    )
    max_sessions: int = Field(1_000_000, ge=1, description="most live sessions")
    max_session_bytes: int = Field(
        8 << 30, ge=1 << 20, description="most bytes of live session records; ended ones take a quarter more"
    )
    session_min_idle_s: float = Field(
        60, ge=0, description="at capacity the longest idle session is evicted, but none idle for less"
    )
    max_tombstones: int = Field(
        100_000, ge=0, description="ended, expired and evicted sessions remembered, for 410 instead of 404"
    )

    # Bounds on requests
    max_body_bytes: int = Field(16 << 20, ge=1, description="largest request body")
    max_sequences: int = Field(1024, ge=1, description="most sequences in one request")
    max_steps: int = Field(20_000, ge=1, description="most time steps in one sequence of one request")
    request_timeout_s: float = Field(30, gt=0, description="a request not computed by then is answered 504")
    body_timeout_s: float = Field(10, gt=0, description="a body not received by then is answered 408")
    max_connections: int = Field(10_000, ge=1, description="open connections a worker; beyond: 503")
    keep_alive_s: int = Field(75, ge=1, description="idle seconds after which a connection is closed")
    drain_s: float = Field(30, ge=0, description="at a stop: longest wait for requests in flight")

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is worth a line"
    )
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal")
    access_log: bool = Field(True, description="one line per request")

    @model_validator(mode="after")
    def _memory_is_not_shared(self) -> Self:
        if self.store == "memory" and self.workers > 1:
            raise ValueError("the memory store is not shared: it takes one worker, or another store")
        return self

    @model_validator(mode="after")
    def _default_ttl_is_within_the_bound(self) -> Self:
        if self.session_ttl_s > self.session_max_ttl_s:
            raise ValueError("session_ttl_s is more than session_max_ttl_s")
        return self

    @property
    def num_workers(self) -> int:
        """Server processes: as set, or one a CPU. One is enough where HTTP and inference share a core."""
        if self.workers or self.store == "memory":
            return self.workers or 1
        return min(cpus.usable(), MAX_AUTO_WORKERS)

    @property
    def num_threads(self) -> int:
        """ONNX Runtime threads of one worker: as set, or its share of the CPUs."""
        return self.threads or max(1, cpus.usable() // self.num_workers)

    @property
    def shares_cores(self) -> bool:
        """Whether workers use each other's cores: each has one thread, and there is just one CPU for it."""
        has_one = self.num_threads == 1 and cpus.usable() == self.num_workers
        return self.share_cores and self.num_workers > 1 and has_one

    @classmethod
    def load(cls, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Self:
        """Merge flags over `environ` over `file` (or `CELLGATE_CONFIG`) over defaults.

        Raises StartupError, naming the option and where it came from.
        """
        path = file or (Path(environ["CELLGATE_CONFIG"]) if environ.get("CELLGATE_CONFIG") else None)
        sources: dict[str, Mapping[str, Any]] = {
            f"file {path}": _read_file(path) if path else {},
            "environment": _read_environment(environ),
            "flags": {name: value for name, value in flags.items() if value is not None},
        }
        merged = {name: value for source in sources.values() for name, value in source.items()}
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise StartupError(_explain(error, sources)) from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"settings file {path}: {error}") from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Our variables. An empty one is not set (compose's `${X:-}`), but one that nobody knows is kept."""
    ours = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
    }
    return {name: value for name, value in ours.items() if value or name not in Settings.model_fields}


def _explain(error: ValidationError, sources: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for fault in error.errors():
        if not fault["loc"]:  # about several options together
            lines.append(fault["msg"].removeprefix("Value error, "))
            continue
        name = str(fault["loc"][0])
        origin = [where for where, source in sources.items() if name in source][-1]
        message = "no such option" if fault["type"] == "extra_forbidden" else fault["msg"]
        shown = f"{PREFIX}{name.upper()}" if origin == "environment" else name
        is_secret = Settings.model_fields.get(name) and Settings.model_fields[name].annotation is SecretStr
        value = "***" if is_secret else repr(sources[origin][name])
        lines.append(f"{shown} = {value} (from {origin}): {message}")
    return "settings: " + "; ".join(lines)
