"""Fills a running server's LMDB store with live sessions, as copies of one that the server created."""

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.contest import post, sequence
from benchmarks.dialects import Call, Cellgate
from benchmarks.process import Server
from service.sessions.rules import session_key
from service.sessions.store import Limits, Outcome, Record, Write
from service.sessions.store.lmdb import LmdbStore

PLACEHOLDER = 9_999_999  # the name that wrk.lua replaces
GROUP = 1_000  # records a transaction


def create(server: Server, directory: Path, count: int) -> None:
    """Create the sessions s0000000 up to `count`, each at step 1."""
    post(server, Cellgate(), Call(sequence(1, seed=0), PLACEHOLDER))
    asyncio.run(_copy(directory, count))


async def _copy(directory: Path, count: int) -> None:
    store = LmdbStore(directory, Limits(max_sessions=2_000_000))
    await store.open()
    try:
        pattern = await store.get(session_key("", f"s{PLACEHOLDER:07d}"))
        assert pattern is not None, "the server has not stored the session"
        for start in range(0, count, GROUP):
            writes = [_write(pattern, number) for number in range(start, min(start + GROUP, count))]
            outcomes = await store.commit(writes, int(time.time() * 1000))
            assert all(outcome is Outcome.DONE for outcome in outcomes), "the store is full"
    finally:
        await store.close()


def _write(pattern: Record, number: int) -> Write:
    record = replace(pattern, revision=os.urandom(8))
    return Write(session_key("", f"s{number:07d}"), None, record)
