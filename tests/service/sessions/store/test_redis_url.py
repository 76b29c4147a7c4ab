"""The URL of a Redis server: what it may contain, and that no message quotes it."""

import asyncio
import traceback

import pytest

from service.errors import StartupError
from service.settings import Settings
from tests.redis_server import RedisServer, needs_redis
from tests.service.sessions.store.redis_stores import opened

pytestmark = needs_redis


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis://:hunter2/secret@host:6379/0", "cannot be read"),
        ("redis://:hunter2#secret@host:6379/0", "cannot be read"),
        ("redis://[hunter2@host:6379/0", "cannot be read"),
        ("redis://host:6379/0?hunter2", "cannot be read"),
        ("redis://user:1234/hunter2@host:6379/0", "path"),
        ("redis://user:1234#hunter2@host:6379/0", "path"),
        ("redis://host:6379/hunter2", "path"),
        ("redis+cluster://host:6379/2", "cluster has only 0"),
        ("redis://:1234", "no server"),
        ("unix://", "no server"),
        ("http://hunter2@host", "scheme"),
        ("hunter2", "scheme"),
        ("redis://host:6379/0?hunter2=1", "option"),
        ("redis://host:6379/0?db=hunter2", "option"),
        ("redis+cluster://host:6379/0?hunter2=1", "option"),
    ],
)
def test_an_invalid_url_is_refused_without_quoting_it(url: str, fault: str) -> None:
    """`Port could not be cast to integer value as 'hunter2'` was in the log."""

    async def start() -> None:
        async with opened(url):
            pass

    with pytest.raises(StartupError, match=f"redis_url.*{fault}") as raised:
        asyncio.run(start())
    trace = "".join(traceback.format_exception(raised.value)).partition("errors.root.StartupError")[2]
    assert not any(part in trace for part in ("hunter2", "secret", "1234", "6379"))
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("ending", ["", "/", "/0", "/3", "/0?health_check_interval=5", "?db=2"])
def test_a_url_may_omit_the_database_and_have_options(server: RedisServer, ending: str) -> None:
    async def start() -> None:
        async with opened(server.url.removesuffix("/0") + ending) as store:
            await store.check()

    asyncio.run(start())


def test_the_password_is_in_no_text_about_the_settings() -> None:
    settings = Settings.load({}, {"CELLGATE_REDIS_URL": "redis://:hunter2@host"})
    assert "hunter2" not in f"{settings!r} {settings}"
    with pytest.raises(StartupError) as raised:
        Settings.load({}, {"CELLGATE_REDIS_URL": "redis://:hunter2@host", "CELLGATE_REDIS_SHARDS": "0"})
    assert "hunter2" not in raised.value.detail
