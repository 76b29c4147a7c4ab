"""Whether Redis may delete sessions by itself: its `maxmemory-policy`, and how many keys it has evicted.

Sessions lie in keys without an expiry, so the `volatile-*` policies never choose them and `allkeys-*` do. An
evicted key holds many sessions. This file knows no sessions: it reads what the server says of itself.
"""

import logging
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError, ResponseError

logger = logging.getLogger(__name__)

_POLICY = "maxmemory_policy"


class Unsuitable(RedisError):
    """The server answers, and is laid out or configured so that it cannot hold our sessions."""


class EvictionWatch:
    """Looks at every node of one Redis server or Cluster."""

    def __init__(self, *, is_allowed: bool) -> None:
        self._is_allowed = is_allowed
        self._num_evicted: int | None = None  # keys, at the last check
        self._warned_of = ""

    async def check(self, client: Redis | RedisCluster) -> None:
        """Raises Unsuitable if a node's policy evicts sessions and that is not allowed; else it is logged."""
        nodes = await _read(client)
        policies = sorted({str(node.get(_POLICY)) for node in nodes if node.get(_POLICY)})
        evicting = [policy for policy in policies if policy.startswith("allkeys-")]
        if evicting and not self._is_allowed:
            raise Unsuitable(
                f"maxmemory-policy {evicting[0]} deletes sessions when the memory is full; "
                "set it to noeviction, or set redis_allow_eviction to accept that"
            )
        if not policies:
            self._warn("Redis does not show its maxmemory-policy: make sure that it is noeviction")
        elif evicting:
            self._warn(f"Redis has maxmemory-policy {evicting[0]}: it may delete sessions")
            self._count(sum(int(node.get("evicted_keys", 0)) for node in nodes))

    def _warn(self, message: str) -> None:
        if message != self._warned_of:
            logger.warning("%s", message)
        self._warned_of = message

    def _count(self, num_evicted: int) -> None:
        if self._num_evicted is not None and num_evicted > self._num_evicted:
            logger.error(
                "Redis has evicted %d keys: sessions are lost, and requests for them without `at` begin anew",
                num_evicted - self._num_evicted,
            )
        self._num_evicted = num_evicted


async def _read(client: Redis | RedisCluster) -> list[Mapping[str, Any]]:
    """The policy of every node, and its number of evicted keys; nothing where the server forbids both."""
    nodes: dict[str, Any] = {} if isinstance(client, Redis) else {"target_nodes": RedisCluster.PRIMARIES}
    try:
        reply: Any = await client.info("memory", "stats", **nodes)
        key = _POLICY
    except ResponseError:  # no permission
        try:
            reply = await client.config_get("maxmemory-policy", **nodes)
            key = "maxmemory-policy"
        except ResponseError:
            return []
    found = [reply] if key in reply else [node for node in reply.values() if isinstance(node, Mapping)]
    return [{**node, _POLICY: node.get(key)} for node in found]
