"""Where sessions and stored replies are kept, for how long, and how many."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from service.settings.group import Group


class Sessions(Group):
    """The session store, and that of replies to an Idempotency-Key."""

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
        description="idle time from which a session may be evicted when the store is full (s)",
    )
    v2_restart: Literal["never", "always"] = Field(
        "never",
        description="/v2: whether sequence_start replaces a live sequence, as in Triton; never = 409, unless "
        "the request has restart",
    )
    max_tombstones: int = Field(
        100_000,
        ge=0,
        description="ended, expired and evicted sessions to remember, which answer 410, not 404",
    )
    max_checkpoints: int = Field(
        64, ge=0, le=2**32 - 1, description="maximum earlier states that a client may let a session keep"
    )
    max_history_bytes: int = Field(
        4 << 20,
        ge=0,
        description="maximum bytes of the earlier states of one session; the oldest are dropped",
    )

    # Requests without a session that have an Idempotency-Key
    idempotency_ttl_s: float = Field(
        86400, gt=0, description="time for which the reply to an Idempotency-Key is kept (s)"
    )
    max_idempotency_keys: int = Field(
        100_000,
        ge=1,
        description="maximum replies kept for an Idempotency-Key; above it, the oldest are deleted",
    )
    max_idempotency_bytes: int = Field(256 << 20, ge=1 << 20, description="maximum bytes of these replies")
