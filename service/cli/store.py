"""The session store that a command opens, whether a server is running or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.errors import StartupError
from service.settings import Settings

if TYPE_CHECKING:
    from service.sessions import Quota, Resources

T = TypeVar("T")
STORE = ("store", "sessions_dir", "redis_url", "redis_shards", "redis_allow_eviction")
# An import also obeys these, as it does in the server.
BOUNDS = (
    "session_ttl_s", "session_max_ttl_s", "max_sessions", "max_session_bytes", "session_min_idle_s",
    "max_tombstones", "max_checkpoints", "max_history_bytes", "max_body_bytes", "keys_file", "keys",
)  # fmt: skip


def with_store(
    settings: Settings,
    use: "Callable[[Resources], Awaitable[T]]",
    *,
    create: bool = False,
    quotas: "dict[str, Quota] | None" = None,
) -> T:
    """Open the store, run `use` on it, and close it. `create`: an LMDB store that does not exist is created.

    Raises StartupError if there is no store to open.
    """
    from service.codec.stored import regenerate
    from service.parts import create_clock, create_store, history_limits_of
    from service.repository import ModelFolders
    from service.sessions import Resources, Sessions

    if settings.store == "memory":
        raise StartupError("the memory store exists only inside its server: use lmdb or redis")
    if settings.store == "lmdb" and not create and not (settings.sessions_dir / "data.mdb").is_file():
        raise StartupError(f"no session store in {settings.sessions_dir.resolve()}")

    async def work() -> T:
        store = create_store(settings)
        await store.open()
        try:
            clock = create_clock(settings)
            rules = Sessions(
                store,
                ttl_s=settings.session_ttl_s,
                clock=clock,
                quotas=quotas or {},
                history_limits=history_limits_of(settings),
            )
            home_of = ModelFolders(settings.models_dir).get
            max_ttl_s = settings.session_max_ttl_s
            return await use(Resources(rules, home_of, max_ttl_s=max_ttl_s, take_reply=regenerate))
        finally:
            await store.close()

    return asyncio.run(work())


def quotas_of(settings: Settings, tenant: str) -> "dict[str, Quota]":
    """The quotas that the server enforces. Raises StartupError for a tenant without a key."""
    from service.parts import tenants_of

    tenants = tenants_of(settings)
    if tenants.by_name and tenant not in tenants.by_name:
        known = ", ".join(tenants.by_name)
        raise StartupError(
            f"tenant {tenant!r} has no API key, so no client could use the session; known tenants: {known}"
        )
    return tenants.quotas
