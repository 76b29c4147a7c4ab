"""A counter moves while the loop turns; its watcher measures for how long it has not."""

import asyncio
import os
from pathlib import Path

from service.server.heartbeat import MAX_GAP_S, Pulse, beat, forget_beat, read_beat


def test_the_counter_moves_while_the_loop_turns_and_is_removed_at_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        beating = asyncio.create_task(beat(tmp_path))
        assert read_beat(tmp_path, os.getpid()) is None
        seen: set[int | None] = set()
        while len(seen) < 3:
            await asyncio.sleep(0.01)
            seen.add(read_beat(tmp_path, os.getpid()))
        assert seen == {1, 2, 3}
        beating.cancel()
        await asyncio.wait([beating])
        assert read_beat(tmp_path, os.getpid()) is None

    asyncio.run(work())


def test_a_counter_can_be_forgotten_and_a_half_written_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "beat-7").write_bytes(b"123")
    assert read_beat(tmp_path, 7) is None
    forget_beat(tmp_path, 7)
    forget_beat(tmp_path, 7)
    assert not list(tmp_path.iterdir())


def test_silence_is_measured_while_the_watcher_runs() -> None:
    pulse = Pulse()
    looks = [(1, 0.0), (1, 0.5), (1, 1.0), (2, 1.5), (2, 2.0), (2, 3600.0), (None, 3601.0), (2, 3602.0)]
    assert [pulse.look(count, now) for count, now in looks] == [0, 0.5, 1.0, 0, 0.5, 0.5 + MAX_GAP_S, 0, 0]
