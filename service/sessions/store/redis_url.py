"""The client for a redis_url. No error quotes the URL: it may hold a password."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import StartupError

_CLUSTER = "+cluster"
_SCHEMES = ("redis", "rediss", "unix", f"redis{_CLUSTER}", f"rediss{_CLUSTER}")
_EXPECTED = (
    "expected redis://, rediss:// (TLS), redis+cluster:// or rediss+cluster://, "
    "then [[user]:password@]host[:port] and optionally /database, or unix://[[user]:password@]/socket; "
    "special characters in a password percent-encoded"
)
# Reads and writes are grouped, one command of each kind at a time; the other connections are for lists.
_CONNECTIONS = 16


def connect(url: str, timeout_s: float) -> Redis | RedisCluster:
    """A client that is not connected yet. Raises StartupError."""
    fault = _fault_of(url)
    if fault is not None:
        raise StartupError(f"redis_url {fault}; {_EXPECTED}")
    try:
        return _connect(url, timeout_s)
    except (ValueError, TypeError, RedisError):  # an option after "?", which the traceback would quote
        raise StartupError(f"redis_url has an unknown option; {_EXPECTED}") from None


def _fault_of(url: str) -> str | None:
    """Why it is not the address of a server; None if it is."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        if parts.query:
            parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        return "cannot be read"
    is_socket = parts.scheme == "unix"
    if parts.scheme not in _SCHEMES:
        return "has an unknown scheme"
    if parts.fragment or (not is_socket and not re.fullmatch(r"/?\d*", parts.path)):
        return "has a path that is not the number of a database"
    if parts.scheme.endswith(_CLUSTER) and parts.path.strip("/0"):
        return "names a database; a cluster has only 0"
    if not (parts.path if is_socket else parts.hostname):
        return "names no server"
    return None


def _connect(url: str, timeout_s: float) -> Redis | RedisCluster:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),  # `redis_commands.py` retries
        "protocol": 2,
    }
    scheme, separator, rest = url.partition("://")
    if scheme.endswith(_CLUSTER):
        return RedisCluster.from_url(scheme.removesuffix(_CLUSTER) + separator + rest, **options)
    options |= {"max_connections": _CONNECTIONS, "timeout": timeout_s}
    pool = BlockingConnectionPool.from_url(url, **options)
    pool.connection_class(**pool.connection_kwargs)  # checks the options
    return Redis.from_pool(pool)
