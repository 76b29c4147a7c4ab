"""The memory budget, the memory that a container grants, and what is handed back after a peak."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MemoryExhausted
from service.memory import BUSY_CHECKS, TRIM_BYTES, MemoryBudget, Trimmer, malloc_trim, resident_bytes, usable

MACHINE = usable(Path("/none"), Path("/none"))


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=30))
def test_no_more_is_used_than_there_is(requests: list[tuple[int, bool]]) -> None:
    budget, held = MemoryBudget(100), list[int]()
    for size, ends in requests:
        if held and ends:
            budget.give_back(held.pop())
        try:
            budget.take(size)
            held.append(size)
        except MemoryExhausted:
            assert sum(held) + size > 100
        assert budget.used == sum(held) <= 100


def cgroup(folder: Path, files: dict[str, str], of_process: str) -> int:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "self").write_text(of_process)
    return usable(folder, folder / "self")


@pytest.mark.parametrize(
    ("files", "of_process", "expected"),
    [
        ({"memory.max": "1000\n"}, "0::/\n", 1000),
        ({"a/memory.max": "3000\n", "a/b/memory.max": "max\n"}, "0::/a/b\n", 3000),
        ({"a/memory.max": "3000\n", "a/b/memory.max": "2000\n"}, "0::/a/b\n", 2000),
        ({"memory/memory.limit_in_bytes": "1000\n"}, "5:memory:/docker/x\n", 1000),
        ({"memory/a/memory.limit_in_bytes": "1000\n"}, "3:cpu,cpuacct:/\n5:memory:/a\n", 1000),
        ({"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, "5:memory:/\n", MACHINE),
        ({"memory.max": "max\n"}, "0::/\n", MACHINE),
        ({}, "", MACHINE),
    ],
)
def test_the_lowest_limit_counts(
    files: dict[str, str], of_process: str, expected: int, tmp_path: Path
) -> None:
    assert cgroup(tmp_path, files, of_process) == expected


def test_memory_is_handed_back_once_after_each_peak() -> None:
    trims, frees = 0, 770 << 20
    resident = 100 << 20

    def trim() -> None:
        nonlocal trims, resident
        trims += 1
        resident -= frees

    budget = MemoryBudget(1 << 40)
    trimmer = Trimmer(budget, trim=trim, resident=lambda: resident)

    async def check(now: int, used: int = 0) -> int:
        nonlocal resident
        resident = now
        budget.used = used
        await trimmer.check()
        return trims

    async def work() -> None:
        nonlocal frees
        assert await check(100 << 20) == 0
        assert await check(900 << 20, used=500 << 20) == 0, "requests use it"
        assert await check(900 << 20, used=30 << 20) == 1
        assert await check(300 << 20) == 2, "the end of the peak leaves more"
        frees = 0
        assert await check(100 << 20) == await check((100 << 20) + TRIM_BYTES - 1) == 2
        assert await check(300 << 20, used=30 << 20) == 3
        assert [await check(300 << 20, used=30 << 20) for _ in range(BUSY_CHECKS + 1)] == [
            3
        ] * BUSY_CHECKS + [4]
        assert [await check(300 << 20) for _ in range(BUSY_CHECKS + 3)][-1] == 5, "it is in use"
        assert await check((300 << 20) + TRIM_BYTES) == 6
        await Trimmer(budget, trim=None, resident=lambda: 1 << 40).check()

    asyncio.run(work())


def test_what_the_c_library_keeps_is_handed_back() -> None:
    trim = malloc_trim()
    if trim is None:
        pytest.skip("the C library has no malloc_trim")
    pieces = [bytearray(100_000) for _ in range(3000)]  # below the size from which each has its own mapping
    full = resident_bytes()
    last = pieces[-1]
    del pieces
    trim()
    assert full - resident_bytes() > 150_000_000 and len(last)


def test_freed_memory_is_kept_if_a_process_asks_for_it() -> None:
    """In a process of its own: it is so until its end."""
    script = (
        "from service.memory import keep_freed, resident_bytes\n"
        "keep_freed()\nbefore = resident_bytes()\nblock = bytearray(b'1') * (20 << 20)\ndel block\n"
        "print((resident_bytes() - before) >> 20)"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(shown.stdout) >= 19
