"""The limits of a child process, which a test sets in a child of its own."""

import subprocess
import sys

import pytest

MIB = 1 << 20


def run(work: str) -> str:
    """What Python prints after the imports."""
    imports = "import resource; from service.repository.limits import limit_memory, prefer_to_end\n"
    done = subprocess.run([sys.executable, "-c", imports + work], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("size", "fits"), [(4 * MIB, "True"), (64 * MIB, "False")])
def test_no_more_memory_than_the_limit_can_be_allocated(size: int, fits: str) -> None:
    work = f"""
limit_memory({16 * MIB})
try:
    print(len(bytearray({size})) == {size})
except MemoryError:
    print(False)
"""
    assert run(work) == fits


@pytest.mark.parametrize("max_bytes", [None, 1 << 40])
def test_a_lower_limit_of_the_system_stays(max_bytes: int | None) -> None:
    """Raising it is an error, which counted as a crash of the graph."""
    lower = f"resource.setrlimit(resource.RLIMIT_DATA, ({1 << 32}, {1 << 32}))"
    work = f"{lower}; limit_memory({max_bytes}); print(resource.getrlimit(resource.RLIMIT_DATA)[1])"
    assert run(work) == str(1 << 32)


def test_no_core_is_dumped_and_the_process_ends_first() -> None:
    work = "limit_memory(None); prefer_to_end(); print(*resource.getrlimit(resource.RLIMIT_CORE))"
    assert run(f"{work}; print(open('/proc/self/oom_score_adj').read())").split() == ["0", "0", "1000"]
