"""The bounds of a store, as pure rules."""

import pytest

from service.sessions.store.room import (
    Limits,
    Quota,
    Usage,
    can_evict,
    has_room,
    has_room_for_tombstone,
    is_over_quota,
)

LIMITS = Limits(max_sessions=3, max_bytes=1000, min_idle_ms=500, max_tombstones=7, tombstone_share=0.25)


@pytest.mark.parametrize(
    ("usage", "old_size", "new_size", "expected"),
    [
        (Usage(2, 900), 0, 100, True),
        (Usage(2, 900), 0, 101, False),
        (Usage(3, 300), 0, 1, False),
        (Usage(3, 300), 100, 800, True),
        (Usage(3, 300), 100, 801, False),
    ],
    ids=["fits", "bytes", "number", "a larger record fits", "a larger record does not fit"],
)
def test_room_for_a_live_record(usage: Usage, old_size: int, new_size: int, expected: bool) -> None:
    assert has_room(LIMITS, usage, old_size=old_size, new_size=new_size) is expected


@pytest.mark.parametrize(
    ("usage", "old_size", "new_size", "expected"),
    [
        (Usage(1, 100), 0, 900, False),
        (Usage(1, 100), 0, 901, True),
        (Usage(2, 200), 0, 1, True),
        (Usage(2, 200), 100, 900, False),
        (Usage(2, 200), 100, 901, True),
        (Usage(9, 9000), 100, 100, False),
        (Usage(9, 9000), 100, 99, False),
    ],
    ids=["within", "bytes", "number", "grows within", "grows beyond", "same size", "shrinks"],
)
def test_a_quota_stops_what_is_new_or_grows(
    usage: Usage, old_size: int, new_size: int, expected: bool
) -> None:
    quota = Quota(max_sessions=2, max_bytes=1000)
    assert is_over_quota(quota, usage, old_size=old_size, new_size=new_size) is expected


def test_only_a_session_idle_for_long_enough_can_be_evicted() -> None:
    assert not can_evict(LIMITS, touched_ms=1000, now_ms=1499)
    assert can_evict(LIMITS, touched_ms=1000, now_ms=1500)


def test_one_tenant_has_half_of_all_tombstones_rounded_up() -> None:
    assert LIMITS.tombstones == Usage(7, 250)
    assert LIMITS.tombstones_of(b"") == Usage(7, 250), "without tenants all of them"
    assert LIMITS.tombstones_of(b"acme") == Usage(4, 125)
    assert has_room_for_tombstone(LIMITS, b"acme", 125)
    assert not has_room_for_tombstone(LIMITS, b"acme", 126)


@pytest.mark.parametrize(
    ("usage", "expected"), [(Usage(2, 10), False), (Usage(3, 10), True), (Usage(2, 11), True)]
)
def test_either_bound_can_be_exceeded(usage: Usage, expected: bool) -> None:
    assert usage.exceeds(Usage(2, 10)) is expected


def test_the_parts_of_shards_add_up_to_the_limits_at_least() -> None:
    part = LIMITS.part(2)
    assert part == Limits(
        max_sessions=2, max_bytes=500, min_idle_ms=500, max_tombstones=3, tombstone_share=0.25
    )
    assert LIMITS.part(1) == LIMITS
