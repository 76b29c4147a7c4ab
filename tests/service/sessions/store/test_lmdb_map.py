"""The shared map: a full disk, a removed lock file, a writer that stops, growth in several processes."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import StartupError, StoreUnavailable
from service.sessions.store import Limits, Outcome, Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.lmdb_files import Space
from tests.service.sessions.store.records import ROOMY, open_raw, put, record, run
from tests.small_disk import mounted_or_skipped

LIMIT_S = 120

PREAMBLE = """
import asyncio, os, random, signal, sys
from dataclasses import replace
from pathlib import Path
from service.errors import StoreUnavailable
from service.sessions.store import Limits, Outcome, Write
from service.sessions.store.lmdb import LmdbStore
from tests.service.sessions.store.records import put, record

async def main(store, *arguments):
    await store.open()
    await body(store, *arguments)
    await store.close()
"""

START = """
asyncio.run(main(LmdbStore(Path(sys.argv[1]), Limits(max_bytes=int(sys.argv[2]))), *sys.argv[3:]))
"""

FULL_DISK = """
from tests.small_disk import fill

async def grow(store, name):
    number = 0
    try:
        while number < 20_000:
            number += 1
            new = record(size=3000, ttl_ms=1000)
            if await put(store, b"\\0%s%05d" % (name, number), new) is not Outcome.DONE:
                break
    except StoreUnavailable as error:
        print(error)
    return number - 1

async def body(store):
    await put(store, b"\\0old", old := record(size=3000))
    num_held = await asyncio.wait_for(grow_to(store, 1000), 60)
    filler = fill(Path(sys.argv[1]).parent)
    await asyncio.sleep(0.3)  # the next write looks at the disk
    assert await store.sweep(10_000, 10_000) == num_held
    await store.check()
    assert await put(store, b"\\0old", record(2, size=3000), old) is Outcome.DONE
    more = await grow(store, b"b")
    assert 100 < more < 20_000, more  # the space that is reserved
    assert await store.sweep(10_000, 100_000) == more
    assert (await store.get(b"\\0old")).step == 2, "no session was evicted"
    filler.unlink()
    await asyncio.sleep(0.3)
    assert await grow(store, b"c") > more
    await store.check()

async def grow_to(store, count):
    for number in range(count):
        await put(store, b"\\0a%05d" % number, record(size=3000, ttl_ms=1000))
    return count
"""

RACE = """
async def body(store, count):
    for _ in range(int(count)):
        while True:
            try:
                old = await store.get(b"\\0k")
                new = replace(old, step=old.step + 1, revision=random.randbytes(8))
                if (await store.commit([Write(b"\\0k", old.revision, new)], 0))[0] is Outcome.DONE:
                    break
            except StoreUnavailable as error:
                print(error, flush=True)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.0005)
"""

GROW = """
async def body(store, name):
    for number in range(60):
        assert await put(store, b"\\0%s%d" % (name.encode(), number), record(size=1 << 20)) is Outcome.DONE
        assert (await store.get(b"\\0%s0" % name.encode())).step == 1
"""

STOP = """
async def body(store):
    await store._map.write(lambda: (print("stopped", flush=True), os.kill(os.getpid(), signal.SIGSTOP)))
"""

STAY = """
async def body(store):
    print("open", flush=True)
    sys.stdin.read()
"""


def start(
    script: str, directory: Path, *arguments: str, prefix: tuple[str, ...] = (), max_bytes: int = 1 << 30
) -> "subprocess.Popen[str]":
    """A process that runs `body` of the script on a store."""
    code = PREAMBLE + script + START
    command = [*prefix, sys.executable, "-c", code, str(directory), str(max_bytes), *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait until it ends without an error; its output."""
    output = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 0, f"status {process.returncode}: {output}"
    return output


def test_on_a_full_disk_sessions_expire_and_continue_and_no_process_dies(tmp_path: Path) -> None:
    """The sweep wrote to a hole of the file: SIGBUS in every worker, again and again."""
    with mounted_or_skipped(tmp_path / "disk", 160) as disk:
        finish(start(FULL_DISK, disk / "sessions"))


def test_room_to_expire_is_kept_however_fast_sessions_are_added(tmp_path: Path) -> None:
    """Between two checks of the disk, fast clients filled the map: no expired session could be removed."""

    async def body(store: Store) -> None:
        count = 0
        while await put(store, b"\0%06d" % count, record(size=3000, ttl_ms=1000)) is Outcome.DONE:
            count += 1
        assert count > 100
        assert await store.sweep(10_000, 100_000) == count

    space = Space(min_step_bytes=4 << 20, check_interval_s=3600.0)
    run(LmdbStore(tmp_path, ROOMY, space=space, free_disk=lambda _: 0, keeps_reserved=lambda _: True), body)


def test_a_store_opens_on_a_disk_that_has_become_full(tmp_path: Path) -> None:
    """A worker that dies then can be replaced."""

    async def nothing(_: Store) -> None:
        pass

    with mounted_or_skipped(tmp_path / "disk", 40) as disk:
        run(LmdbStore(disk / "sessions", ROOMY), nothing)
        finish(
            start(
                "from tests.small_disk import fill\nasync def body(_): fill(Path(sys.argv[1]).parent)",
                disk / "sessions",
            )
        )
        run(LmdbStore(disk / "sessions", ROOMY), nothing)
        with pytest.raises(StartupError, match="space"):
            asyncio.run(LmdbStore(disk / "new", ROOMY).open())


def test_processes_with_different_limits_grow_one_map(tmp_path: Path) -> None:
    """The later one truncated the file to its own size: the others were killed by their next write."""

    async def count(store: Store) -> int:
        return len(await store.scan(b"\0", b"", 1000))

    sizes = (1 << 30, 1 << 28, 1 << 29)
    growing = [start(GROW, tmp_path, name, max_bytes=size) for name, size in zip("abc", sizes, strict=True)]
    for process in growing:
        finish(process)
    assert run(LmdbStore(tmp_path, Limits()), count) == 180
    status = (tmp_path / "data.mdb").stat()
    assert status.st_blocks * 512 >= status.st_size > 180 << 20, "all of the file has its space"


def test_a_removed_lock_file_loses_no_update(tmp_path: Path) -> None:
    """A process that came later made a new one, and did not see the others: 137 of 150 histories broke."""

    async def begin(store: Store) -> None:
        await put(store, b"\0k", record(0))

    async def read(store: Store) -> int:
        found = await store.get(b"\0k")
        assert found is not None
        return found.step

    run(LmdbStore(tmp_path, ROOMY), begin)
    racers = [start(RACE, tmp_path, "800") for _ in range(2)]
    while read_elsewhere(tmp_path) < 20:
        pass
    (tmp_path / "lock.mdb").unlink()
    racers.append(start(RACE, tmp_path, "300"))
    for racer in racers:
        finish(racer)
    assert run(LmdbStore(tmp_path, ROOMY), read) == 2 * 800 + 300


def read_elsewhere(directory: Path) -> int:
    """The step of the session, read by a process of its own, as another worker would."""
    output = finish(start('async def body(store): print((await store.get(b"\\0k")).step)', directory))
    return int(output.split()[-1])


async def stopped_writer(directory: Path) -> "subprocess.Popen[str]":
    """A process that has stopped while it wrote."""
    stopped = start(STOP, directory)
    assert stopped.stdout is not None
    assert await asyncio.to_thread(stopped.stdout.readline) == "stopped\n"
    return stopped


@pytest.mark.parametrize("sync_to_disk", [False, True])
def test_a_writer_that_stops_makes_the_store_unavailable_and_blocks_no_event_loop(
    tmp_path: Path, sync_to_disk: bool
) -> None:
    async def body(store: Store) -> None:
        await put(store, b"\0a", record())
        stopped = await stopped_writer(tmp_path)
        turning = asyncio.create_task(count_turns())
        for write in (put(store, b"\0b", record()), store.sweep(0, 1), store.check()):
            with pytest.raises(StoreUnavailable, match="another process has been writing"):
                await write
        turning.cancel()
        assert turns[0] > 20
        assert await store.get(b"\0a") is not None, "reads go on"
        stopped.kill()
        stopped.communicate()
        assert await put(store, b"\0b", record()) is Outcome.DONE

    turns = [0]

    async def count_turns() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0.001)

    space = Space(lock_timeout_s=0.2)
    run(LmdbStore(tmp_path, ROOMY, sync_to_disk=sync_to_disk, space=space), body)


def test_a_start_waits_for_a_writer_that_has_stopped(tmp_path: Path) -> None:
    """All workers of a server died while another process had stopped in a write; then the server ended."""

    async def body() -> None:
        stopped = await stopped_writer(tmp_path)
        store = LmdbStore(tmp_path, ROOMY, space=Space(lock_timeout_s=0.02))
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(0.2)  # several times the wait of a write
        assert not opening.done()
        stopped.kill()
        stopped.communicate()
        await opening
        assert await put(store, b"\0a", record()) is Outcome.DONE
        await store.close()

    asyncio.run(body())


def test_a_process_with_the_same_process_id_in_another_container_is_refused(tmp_path: Path) -> None:
    """LMDB's table of readers cannot hold both."""
    prefix = ("unshare", "--pid", "--fork", "--kill-child")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("no new PID namespace can be made")
    first = start(STAY, tmp_path, prefix=prefix)
    assert first.stdout is not None and first.stdout.readline() == "open\n"
    second = start(STAY, tmp_path, prefix=prefix)
    assert "one PID namespace" in second.communicate(timeout=LIMIT_S)[0] and second.returncode
    third = start(
        'async def body(store): assert await put(store, b"\\0a", record()) is Outcome.DONE', tmp_path
    )
    finish(third)
    first.communicate("")
    assert first.returncode == 0


def test_a_server_of_an_older_version_is_not_harmed(tmp_path: Path) -> None:
    """It has mapped a sparse file, which must not become shorter."""

    async def body(store: Store) -> None:
        await put(store, b"\0a", record())

    run(LmdbStore(tmp_path, ROOMY), body)
    holder = (
        "from tests.service.sessions.store.records import open_raw\nimport sys\nfrom pathlib import Path\n"
    )
    holder += "env = open_raw(Path(sys.argv[1]))\nprint('open', flush=True)\nsys.stdin.read()"
    older = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert older.stdout is not None and older.stdout.readline() == "open\n"
    with pytest.raises(StartupError, match="older version"):
        asyncio.run(LmdbStore(tmp_path, ROOMY).open())
    older.communicate("")
    with open_raw(tmp_path):
        pass
    run(LmdbStore(tmp_path, ROOMY), body)
    status = (tmp_path / "data.mdb").stat()
    assert status.st_blocks * 512 >= status.st_size
