"""Whether a Redis has room for the sessions that the servers put into it (docs/deployment.md)."""

import re

# A short record takes almost three times its size there, with its places in the indexes.
SHARE = 3
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def num_bytes(text: str) -> int:
    """Redis's `512mb` as a number."""
    found = re.fullmatch(r"(\d+)(kb|mb|gb)", text)
    assert found, text
    return int(found[1]) * _UNITS[found[2]]


def assert_room(max_memory: str, max_session_bytes: int) -> None:
    """Fails if Redis may be full before the store's own bounds are reached, or if much of it lies idle."""
    assert SHARE * max_session_bytes <= num_bytes(max_memory) < 2 * SHARE * max_session_bytes
