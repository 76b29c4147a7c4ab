"""Checks that a Redis has room for the sessions of its servers (docs/redis.md)."""

import re

# With its index entries, a short record takes almost three times its size in Redis.
SHARE = 3
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def num_bytes(text: str) -> int:
    """Redis's `512mb` as a number."""
    match = re.fullmatch(r"(\d+)(kb|mb|gb)", text)
    assert match, text
    return int(match[1]) * _UNITS[match[2]]


def assert_room(max_memory: str, max_session_bytes: int) -> None:
    """Fails if Redis may be full before the store's limit is reached, or if most of it stays unused."""
    assert SHARE * max_session_bytes <= num_bytes(max_memory) < 2 * SHARE * max_session_bytes
