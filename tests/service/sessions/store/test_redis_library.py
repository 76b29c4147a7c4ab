"""What the Lua scripts know of a record and of the Redis keys."""

from service.sessions.store.redis_library import CONSTANTS, KEYS


def test_the_offsets_are_those_of_the_record_counted_from_1() -> None:
    """Written out: a change of the record's table must not go unnoticed."""
    constants = dict(
        line.removeprefix("local ").split(" = ") for line in CONSTANTS.splitlines() if "_AT = " in line
    )
    assert {name.removesuffix("_AT").lower(): int(value) for name, value in constants.items()} == {
        "magic": 1, "checksum": 5, "status": 9, "model_size": 11, "version_size": 13, "state_size": 15,
        "reply_size": 19, "step": 23, "at": 31, "created_ms": 39, "touched_ms": 47, "ttl_ms": 55,
        "revision": 63, "graph": 71, "digest": 79,
    }  # fmt: skip
    assert "local HEADER_SIZE, BOND_SIZE, MAGIC = 94, 4, 'CGR1'\n" in CONSTANTS
    assert "local SIZES = '<I2I2I4I4'\n" in CONSTANTS


def test_the_lua_variables_are_named_like_the_stored_keys() -> None:
    assert f"local {', '.join(KEYS)} = unpack(KEYS)\n" in CONSTANTS
