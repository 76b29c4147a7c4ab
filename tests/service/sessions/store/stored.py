"""One fixed history of commits, and everything a store holds after it, as JSON. Knows no store's code.

`fixtures/0d7e622.json` was made with it from the code of that commit, whose files must stay readable;
`fixtures/bonded.json` from the code that added a bond to every record, which is the format written now.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb

FIXTURE = Path(__file__).parent / "fixtures" / "0d7e622.json"
CURRENT_FIXTURE = FIXTURE.with_name("bonded.json")
LIMITS = {"max_sessions": 5, "max_bytes": 4000, "min_idle_ms": 1000, "max_tombstones": 4}
QUOTA = {"max_sessions": 2, "max_bytes": 900}  # of tenant acme
NUM_TABLES = 8

Rows = dict[str, list[list[str]]]  # by LMDB table or Redis key: pairs of key and value, in hexadecimal


async def play(store: Any, record: Callable[..., Any], write: Callable[..., Any], quota: Any) -> list[str]:
    """Apply the history; the outcome of every write by name. `record` takes a status by its number."""
    numbers = itertools.count(1)
    revisions: dict[bytes, bytes] = {}
    outcomes: list[str] = []

    def made(status: int, second: int, *, size: int = 0, reply: int = 0, ttl_s: int = 60) -> Any:
        number = next(numbers)
        return record(
            status, "größe", str(number), b"graph\0\xff8", number.to_bytes(8), 2**40 + number, 500,
            second * 1000, ttl_s * 1000, bytes([number]) * size, number, b"digest\0\xff" * 2, b"r" * reply,
        )  # fmt: skip

    async def put(key: bytes, second: int, new: Any, expected: bytes | None = None) -> None:
        old = revisions.get(key) if expected is None else expected
        limit = quota if key.startswith(b"acme") else None
        outcome = (await store.commit([write(key, old, new, limit)], second * 1000))[0]
        outcomes.append(outcome.name)
        if outcome.name == "DONE":
            revisions.pop(key, None)
            if new is not None:
                revisions[key] = new.revision

    for second, key in enumerate((b"\0call", b"acme\0one", b"acme\0two", b"acme\0three", b"beta\0x"), 10):
        await put(key, second, made(0, second, size=100))
    await put(b"\0call", 20, made(0, 20, size=160, reply=40))
    await put(b"acme\0one", 21, made(0, 21, size=900), b"otherrev")
    await put(b"acme\0one", 22, made(0, 22, size=900))
    await put(b"acme\0two", 23, made(1, 23, reply=70))  # ended
    await put(b"\0short", 24, made(0, 24, size=30, ttl_s=2))
    await put(b"\0gone", 25, made(0, 25, size=10))
    await put(b"\0gone", 26, None)  # deleted
    outcomes.append(str(await store.sweep(27_000, 100)))  # expires \0short
    for second, name in enumerate((b"v2/m/1", b"v2/m/2", b"v2/m/s/x"), 30):  # evicts the longest idle
        await put(b"\0" + name, second, made(0, second, size=200 + second))
    await put(b"beta\0late", 33, made(0, 33, size=20, ttl_s=3600))
    await put(b"beta\0late", 34, made(1, 34, reply=10))  # ended: the oldest tombstones are dropped
    await put(b"\0v2/m/1", 35, made(0, 35, size=231, ttl_s=3600))
    return outcomes


def lmdb_rows(directory: Path) -> Rows:
    """Every table of an LMDB directory that no store has open."""
    rows: Rows = {}
    with lmdb.open(str(directory), max_dbs=NUM_TABLES, readonly=True) as env:
        with env.begin() as txn:
            names = [key for key, _ in txn.cursor()]
        for name in names:
            table = env.open_db(name, create=False)
            with env.begin() as txn:
                rows[name.decode()] = [[key.hex(), value.hex()] for key, value in txn.cursor(table)]
    return rows


def write_lmdb_rows(directory: Path, rows: Rows) -> None:
    """An LMDB directory of those tables."""
    directory.mkdir(parents=True)
    with lmdb.open(str(directory), map_size=1 << 24, max_dbs=NUM_TABLES) as env:
        for name, pairs in rows.items():
            table = env.open_db(name.encode())
            with env.begin(table, write=True) as txn:
                for key, value in pairs:
                    txn.put(bytes.fromhex(key), bytes.fromhex(value))


async def redis_rows(client: Any) -> Rows:
    """Every key of a Redis database; a sorted set's scores stand as values, a string's key is empty."""
    rows: Rows = {}
    for key in sorted(await client.keys("*")):
        kind = await client.type(key)
        if kind == b"hash":
            pairs = sorted((await client.hgetall(key)).items())
        elif kind == b"zset":
            pairs = [(m, b"%d" % s) for m, s in await client.zrange(key, 0, -1, withscores=True)]
        else:
            pairs = [(b"", await client.get(key))]
        rows[f"{kind.decode()} {key.decode()}"] = [[name.hex(), value.hex()] for name, value in pairs]
    return rows


async def write_redis_rows(client: Any, rows: Rows) -> None:
    """Put them into an empty database."""
    for title, pairs in rows.items():
        kind, _, key = title.partition(" ")
        for name, value in ((bytes.fromhex(name), bytes.fromhex(value)) for name, value in pairs):
            if kind == "hash":
                await client.hset(key, name, value)
            elif kind == "zset":
                await client.zadd(key, {name: int(value)})
            else:
                await client.set(key, value)
