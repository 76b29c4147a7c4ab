"""All settings, read once at start. Flags override the environment, which overrides the file."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from service import cpus, memory
from service.errors import StartupError
from service.names import ROOT_PATH

PREFIX = "CELLGATE_"
GROUPS = {  # heading of `serve --help`: the first setting of the group
    "Network": "host",
    "Authentication": "keys_file",
    "Models": "models_dir",
    "Batching": "max_batch",
    "Sessions": "store",
    "Request limits": "max_body_bytes",
    "Metrics": "metrics_access",
    "Browsers and proxies": "cors_origins",
    "Logging": "log_level",
    "Traces": "server_timing",
}
MAX_AUTO_WORKERS = 16  # each worker loads every model; set `workers` explicitly for more
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*A-Z]+")  # scheme://host[:port], as browsers send it
# Variables with the prefix that are not settings: the settings file, training's data cache, and the client's.
NOT_SETTINGS = {"CELLGATE_CONFIG", "CELLGATE_DATA_DIR", "CELLGATE_URL", "CELLGATE_API_KEY"}


class Settings(BaseModel):
    """A frozen value. Each field is `CELLGATE_<NAME>` in the environment and `<name>` in a TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Network
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

    # Authentication
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

    # Models
    models_dir: Path = Field(Path("models"), description="model repository: <name>/<version>/model.onnx")
    models_poll_s: float = Field(
        5,
        ge=0,
        description="how often to check models_dir for new, changed and removed versions (s); 0 = never",
    )
    retained_models_dir: Path | None = Field(
        None,
        description="copies of the versions that sessions are on, kept after models_dir has lost them; "
        "default: retained-models in sessions_dir with LMDB, none with other stores",
    )
    provider: Literal["auto", "cpu", "cuda"] = Field("auto", description="ONNX Runtime execution provider")
    model_trial_s: float = Field(
        60,
        gt=0,
        description="maximum time of a new model's first load, in a child process (s); + 1 s for every 50 MB",
    )
    model_trial_bytes: int = Field(
        4 << 30,
        ge=1 << 28,
        description="maximum memory of that child process, besides 4 times the size of the model's files",
    )
    threads: int = Field(
        0, ge=0, le=256, description="ONNX Runtime threads for each worker; 0 = CPUs divided by workers"
    )
    share_cores: bool = Field(
        True,
        description="workers with one thread: also run calls on the core of another; see docs/performance.md",
    )

    # Batching
    max_batch: int = Field(64, ge=1, description="maximum sequences in one ONNX Runtime call")
    chunk_steps: int = Field(256, ge=1, description="maximum time steps of one sequence in one call")
    target_call_ms: float = Field(
        6, gt=0, description="target duration of one call (ms); batch and chunk sizes are chosen to meet it"
    )
    inline_call_ms: float = Field(
        2,
        ge=0,
        description="calls expected to take longer (ms) run in a thread and do not block the event loop",
    )
    max_waiting: int = Field(
        4096, ge=1, description="maximum queued sequences for each model and worker; above it: 503"
    )
    max_wait_ms: float = Field(
        2000,
        gt=0,
        description="maximum estimated queueing time for each model and worker (ms); above it: 503",
    )

    # Sessions
    store: Literal["memory", "lmdb", "redis"] = Field("lmdb", description="session store")
    sessions_dir: Path = Field(Path("sessions"), description="LMDB: directory of the store")
    session_sync: Literal["os", "disk"] = Field(
        "os", description="LMDB: durability of a commit; os survives kill -9, disk also survives power loss"
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis: redis://, rediss:// (TLS), unix://, redis+cluster:// or rediss+cluster:// URL",
    )
    redis_timeout_s: float = Field(
        2, gt=0, description="Redis: timeout of one operation, including connecting and retries (s)"
    )
    redis_shards: int = Field(
        1, ge=1, le=1024, description="Redis: number of hash slots for sessions; fixed once sessions exist"
    )
    redis_allow_eviction: bool = Field(
        False, description="Redis: start although its maxmemory-policy lets it delete sessions"
    )
    session_ttl_s: float = Field(3600, gt=0, description="idle time after which a session expires (s)")
    session_max_ttl_s: float = Field(
        30 * 86400, gt=0, description="maximum idle time that a client may set for a session (s)"
    )
    max_sessions: int = Field(1_000_000, ge=1, description="maximum live sessions")
    max_session_bytes: int = Field(
        8 << 30,
        ge=1 << 20,
        description="maximum bytes of live session records; ended ones take up to 25 % more",
    )
    session_min_idle_s: float = Field(
        60,
        ge=0,
        description="at capacity, evict the session idle longest, if it is idle for at least this (s)",
    )
    v2_restart: Literal["never", "always"] = Field(
        "never",
        description="/v2: whether sequence_start replaces a live sequence, as in Triton; never = 409, unless "
        "the request says restart",
    )
    max_tombstones: int = Field(
        100_000,
        ge=0,
        description="ended, expired and evicted sessions to remember, which answer 410, not 404",
    )

    # Requests without a session that have an Idempotency-Key
    idempotency_ttl_s: float = Field(
        86400, gt=0, description="time for which the reply to an Idempotency-Key is kept (s)"
    )
    max_idempotency_keys: int = Field(
        100_000, ge=1, description="maximum replies kept for an Idempotency-Key; the oldest make room"
    )
    max_idempotency_bytes: int = Field(256 << 20, ge=1 << 20, description="maximum bytes of these replies")

    # Request limits
    max_body_bytes: int = Field(16 << 20, ge=1, description="maximum size of a request body")
    max_reply_bytes: int = Field(
        64 << 20, ge=1 << 10, description="maximum size that a reply could have; above it: 422, nothing runs"
    )
    request_memory_bytes: int = Field(
        0,
        ge=0,
        description="memory of requests in progress, for each worker, at 8 times the size of their bodies; "
        "above it: 503; 0 = half of the container's or machine's memory, divided by the workers",
    )
    max_sequences: int = Field(1024, ge=1, description="maximum sequences in one request")
    max_steps: int = Field(20_000, ge=1, description="maximum time steps in one sequence of one request")
    request_timeout_s: float = Field(30, gt=0, description="time limit to compute a request (s); then 504")
    body_timeout_s: float = Field(10, gt=0, description="time limit to receive a request body (s); then 408")
    max_connections: int = Field(
        10_000, ge=1, description="maximum connections for each worker, within ulimit -n; above it: 503"
    )
    keep_alive_s: int = Field(75, ge=1, description="idle time after which a connection is closed (s)")
    drain_s: float = Field(30, ge=0, description="on shutdown, maximum wait for requests in progress (s)")

    # Metrics
    metrics_access: Literal["key", "open"] = Field(
        "key", description="GET /metrics: with an API key, if there are keys, or open to every client"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port of a second, plain HTTP server for /metrics alone, without keys; 0 = none",
    )
    metrics_host: str = Field("127.0.0.1", description="address to bind for metrics_port")

    # Browsers and proxies
    cors_origins: str = Field(
        "",
        description="origins whose pages may call this server, separated by commas, as "
        "https://app.example.org; * = any; empty = none",
    )
    root_path: str = Field(
        "",
        description="path below which a proxy serves this server, as /ml; requests may come without it",
    )
    forwarded_prefix: bool = Field(
        False,
        description="trust the header X-Forwarded-Prefix, the path that a proxy has cut off, over root_path",
    )
    compress_min_bytes: int = Field(
        16 << 10,
        ge=0,
        description="minimum size of a reply that is compressed for clients that accept it; 0 = none is",
    )

    # Logging
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum log level")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="log format; auto = text on a terminal, otherwise json"
    )
    access_log: bool = Field(True, description="log one line for each request")

    # Traces
    server_timing: bool = Field(
        True, description="name the times of a request's stages in its response, in the header Server-Timing"
    )
    otel_endpoint: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="send OpenTelemetry spans to this OTLP/HTTP collector, such as http://127.0.0.1:4318",
    )

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
    def shares_cores(self) -> bool:
        """Whether workers use each other's cores: each has one thread, and there is one CPU for each."""
        has_one_core = self.num_threads == 1 and self._cpus == self.num_workers
        return self.share_cores and self.num_workers > 1 and has_one_core

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


def _entries(value: str) -> tuple[str, ...]:
    return tuple(filter(None, (entry.strip() for entry in value.split(","))))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"settings file {path}: {error}") from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables with the prefix. An empty one counts as unset (compose's `${X:-}`), an unknown one never."""
    settings = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
    }
    return {name: value for name, value in settings.items() if value or name not in Settings.model_fields}


def _explain(error: ValidationError, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence for each invalid option, with its source. Values of secrets are masked."""
    lines = []
    for fault in error.errors():
        if not fault["loc"]:  # concerns several options together
            lines.append(fault["msg"].removeprefix("Value error, "))
            continue
        name = str(fault["loc"][0])
        origin = [label for label, source in sources.items() if name in source][-1]
        message = "no such option" if fault["type"] == "extra_forbidden" else fault["msg"]
        shown = f"{PREFIX}{name.upper()}" if origin == "environment" else name
        is_secret = Settings.model_fields.get(name) and Settings.model_fields[name].annotation is SecretStr
        value = "***" if is_secret else repr(sources[origin][name])
        lines.append(f"{shown} = {value} (from {origin}): {message}")
    return "settings: " + "; ".join(lines)
