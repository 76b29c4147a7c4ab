"""The bounds on a body: its size, its time, its type."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadHeader, BodyTimeout, BodyTooLarge, MemoryExhausted, UnsupportedMediaType
from service.http.body import (
    BodyLimits,
    check_json_type,
    check_nothing,
    check_tensor_type,
)
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget

LIMITS = BodyLimits(10, 0.02, MemoryBudget(1 << 30))


def read(parts: list[bytes], *, ends: bool = True) -> bytes:
    """Read a body that arrives in these parts, and then ends or stops."""
    remaining = list(parts)

    async def read_part() -> tuple[bytes, bool]:
        if not remaining:
            await asyncio.Event().wait()
        part = remaining.pop(0)
        return part, bool(remaining) or not ends

    return asyncio.run(LIMITS.read(read_part))


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=6))
def test_a_body_is_its_parts_or_too_large(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    if len(whole) <= 10:
        assert read(parts) == whole
    else:
        with pytest.raises(BodyTooLarge):
            read(parts)


@pytest.mark.parametrize("parts", [[], [b"x"]], ids=["never starts", "stops"])
def test_a_body_that_does_not_arrive_is_a_timeout(parts: list[bytes]) -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.02 s"):
        read(parts, ends=False)


@pytest.mark.parametrize("value", [b"ten", b"-1", b"", b"1.0", b"\xb2"])
def test_a_content_length_that_is_not_a_number_is_refused(value: bytes) -> None:
    with pytest.raises(BadHeader):
        LIMITS.check_declared(value)


def test_the_declared_size_is_checked_before_the_body_is_read() -> None:
    LIMITS.check_declared(b"10")
    with pytest.raises(BodyTooLarge):
        LIMITS.check_declared(b"11")
    LIMITS.check_declared(b"0" * 5000 + b"10")
    with pytest.raises(BodyTooLarge):  # Python converts 4,300 digits at most
        LIMITS.check_declared(b"1" * 5000)


@pytest.mark.parametrize(
    "value", [b"application/json", b"APPLICATION/JSON; charset=utf-8", b"a/problem+json"]
)
def test_json_types(value: bytes) -> None:
    check_json_type(value)
    check_tensor_type(value)
    check_nothing(value)


def test_types_that_are_not_json() -> None:
    check_tensor_type(b"application/octet-stream")
    for value in (b"text/plain", b"application/octet-stream", b"", b"json"):
        with pytest.raises(UnsupportedMediaType):
            check_json_type(value)
    with pytest.raises(UnsupportedMediaType):
        check_tensor_type(b"text/plain")


def test_bodies_that_arrive_share_a_budget_and_give_it_back() -> None:
    """A thousand bodies of 1.4 MB were all accepted, whatever memory there was."""
    budget = MemoryBudget(10 * BYTES_PER_BODY_BYTE)
    limits = BodyLimits(100, 1, budget)

    async def work() -> None:
        arrive: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        first = asyncio.ensure_future(limits.read(arrive.get))
        arrive.put_nowait((b"x" * 6, True))
        while budget.used != 6 * BYTES_PER_BODY_BYTE:
            await asyncio.sleep(0)
        limits.check_declared(b"4")
        with pytest.raises(MemoryExhausted) as refused:
            limits.check_declared(b"5")
        assert refused.value.status == 503 and refused.value.retry_after_s
        remaining = [(b"xxx", True), (b"xx", False)]

        async def read_part() -> tuple[bytes, bool]:
            return remaining.pop(0)

        with pytest.raises(MemoryExhausted):
            await limits.read(read_part)
        assert budget.used == 6 * BYTES_PER_BODY_BYTE
        with pytest.raises(BodyTooLarge):
            limits.check_declared(b"11")  # it would never fit
        arrive.put_nowait((b"x" * 4, False))
        assert await first == b"x" * 10 and budget.used == 0

    asyncio.run(work())
