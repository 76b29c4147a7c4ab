"""`cellgate sessions` on a store with the sessions of several tenants."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from service.repository import ModelFolders
from service.sessions import Checkpoint, HistoryRule, Sessions, session_key
from service.sessions.clock import SteadyClock
from service.sessions.resources import Resources
from service.sessions.store import Limits
from service.sessions.store.lmdb import LmdbStore
from tests.service.cli import command

Run = Callable[..., Result]
STORED = {"": ["call", "ours"], "acme": ["call"], "beta": ["call", "v2/vowels/7"]}
KEYS = "".join(
    f'[{name}]\nkeys = ["sha256:{hashlib.sha256(name.encode()).hexdigest()}"]\n{limit}\n'
    for name, limit in (("acme", "max_sessions = 2"), ("beta", ""))
)


@pytest.fixture
def run(tmp_path: Path, models_dir: Path) -> Run:
    """The commands on a store that holds `STORED`; a session's step is 10 × its tenant's index + its own."""
    asyncio.run(fill(tmp_path / "sessions", models_dir))
    environ = {"CELLGATE_SESSIONS_DIR": str(tmp_path / "sessions"), "CELLGATE_MODELS_DIR": str(models_dir)}

    def invoke(*arguments: str, **settings: str) -> Result:
        named = {f"CELLGATE_{name.upper()}": value for name, value in settings.items()}
        return command.run("sessions", *arguments, **environ | named)

    return invoke


async def fill(folder: Path, models_dir: Path) -> None:
    store = LmdbStore(folder, Limits())
    await store.open()
    sessions = Sessions(store, ttl_s=3600, clock=SteadyClock(folder))
    resources = Resources(sessions, ModelFolders(models_dir).get, max_ttl_s=3600)
    for number, (tenant, names) in enumerate(STORED.items()):
        for index, name in enumerate(names):
            await resources.create(tenant, name, step=10 * number + index)
    await store.close()


def names_of(listed: Result) -> list[str]:
    header, *lines = listed.stdout.splitlines()
    assert header.split("\t") == ["session", "model", "version", "step", "last_request"]
    return [line.partition("\t")[0] for line in lines]


@pytest.mark.parametrize("tenant", STORED)
def test_sessions_of_a_tenant_are_listed_and_other_tenants_are_named(run: Run, tenant: str) -> None:
    listed = run("list", *(["--tenant", tenant] if tenant else []))
    assert listed.exit_code == 0 and names_of(listed) == STORED[tenant]
    others = [f"--tenant {other}" if other else "no --tenant" for other in STORED if other != tenant]
    assert listed.stderr == f"other tenants have sessions, not listed here: {', '.join(others)}\n"


def test_a_list_is_json_for_scripts(run: Run) -> None:
    listed = json.loads(run("list", "--json", "--limit", "1", "--tenant", "beta").stdout)
    assert listed["next"] == "call"
    [shown] = listed["sessions"]
    assert shown.pop("last_request").endswith("+00:00")
    assert shown == {"session": "call", "model": "vowels", "version": "1", "step": 20}
    assert json.loads(run("list", "--json", "--tenant", "gamma").stdout) == {"sessions": [], "next": None}


def test_no_other_tenant_is_named_where_there_is_none(run: Run) -> None:
    run("rm", "--tenant", "acme", "call")
    run("rm", "--tenant", "beta", "call", "v2/vowels/7")
    assert run("list").stderr == ""


def test_at_most_ten_tenants_are_named(run: Run, tmp_path: Path) -> None:
    run("export", "call", "-o", str(tmp_path / "call.cgs"))
    for number in range(20):
        assert run("import", "--tenant", f"t{number}", "call", str(tmp_path / "call.cgs")).exit_code == 0
    named = run("list").stderr
    assert named.count("--tenant") == 10 and named.endswith(", …\n")


def test_a_state_is_exported_for_a_version_to_begin_from(run: Run, models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "vowels" / "1"
    shutil.copytree(models_dir / "vowels" / "1", folder)
    path = folder / "states" / "warm.safetensors"
    assert run("export", "call", "--state", "-o", str(path)).output.startswith(f"wrote {path}: ")
    shown = json.loads(command.run("models", "--models-dir", str(tmp_path / "models"), "--json").output)
    assert shown[0]["states"] == ["warm"]
    line = command.run("models", "--models-dir", str(tmp_path / "models")).output
    assert line.rstrip().endswith("  states: warm")


def test_show_and_rm_use_the_tenants_own_session(run: Run) -> None:
    assert json.loads(run("show", "call", "--tenant", "beta").stdout)["step"] == 20
    assert json.loads(run("show", "v2/vowels/7", "--tenant", "beta").stdout)["step"] == 21
    assert run("rm", "call", "--tenant", "beta").stdout == "removed call\n"
    assert "no session of that name" in run("show", "call", "--tenant", "beta").stderr
    assert json.loads(run("show", "call").stdout)["step"] == 0
    assert json.loads(run("show", "call", "--tenant", "acme").stdout)["step"] == 10


def test_a_session_is_rewound_to_a_step_that_show_lists(run: Run, tmp_path: Path) -> None:
    async def step() -> None:
        store = LmdbStore(tmp_path / "sessions", Limits())
        await store.open()
        sessions = Sessions(store, ttl_s=3600, clock=SteadyClock(tmp_path / "sessions"))
        resources = Resources(sessions, ModelFolders(tmp_path).get, max_ttl_s=3600)
        before = await resources.change("", "ours", history=HistoryRule(5))
        history = before.history and before.history.add([Checkpoint(1, before.state)], 1 << 20)
        after = replace(before, step=7, history=history, revision=b"revision")
        assert await sessions.put(session_key("", "ours"), before, after)
        await store.close()

    asyncio.run(step())
    shown = json.loads(run("show", "ours").stdout)
    assert shown["history"] == {"last": 5, "every": None, "checkpoints": [1], "bytes": 1024}
    assert "at step 7, the request says 6" in run("rewind", "ours", "1", "--at", "6").stderr
    assert run("rewind", "ours", "1", "--at", "7").stdout == "ours is at step 1 of vowels version 1\n"
    shown = json.loads(run("show", "ours").stdout)
    assert (shown["step"], shown["rewinds"], shown["history"]["checkpoints"]) == (1, 1, [])
    assert "keeps the steps 1, not 7" in run("rewind", "ours", "7").stderr


def test_a_session_at_another_step_is_neither_replaced_nor_removed(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "call.cgs")
    run("export", "call", "--tenant", "acme", "-o", file)
    assert "at step 0, the request says 10" in run("import", "call", file, "--at", "10").stderr
    assert "step 10 of vowels" in run("import", "call", file, "--at", "0").stdout
    assert json.loads(run("show", "call").stdout)["rewinds"] == 1
    assert "at step 10, the request says 0" in run("rm", "call", "--at", "0").stderr
    assert "--at is the step of one session" in run("rm", "call", "other", "--at", "10").stderr
    assert run("rm", "call", "--at", "10").stdout == "removed call\n"


def test_a_session_moves_from_tenant_to_tenant(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "call.cgs")
    assert run("export", "call", "--tenant", "acme", "-o", file).exit_code == 0
    assert "step 10 of vowels" in run("import", "new", file, "--tenant", "beta").stdout
    assert names_of(run("list", "--tenant", "beta")) == ["call", "new", "v2/vowels/7"]
    assert names_of(run("list", "--tenant", "acme")) == ["call"]
    assert "the session is live" in run("import", "call", file, "--tenant", "acme").stderr


@pytest.mark.parametrize("name", ["a/b", "é", "x" * 129, ""])
def test_names_that_a_server_refuses_are_refused(run: Run, tmp_path: Path, name: str) -> None:
    file = str(tmp_path / "call.cgs")
    run("export", "call", "-o", file)
    for arguments in (("import", name, file), ("show", name), ("rm", name), ("export", name)):
        refused = run(*arguments)
        assert refused.exit_code == 1 and "1 to 128 printable ASCII characters" in refused.stderr, arguments
    assert run("list", "--tenant", "a/b").exit_code == 2


def test_an_import_obeys_the_limits_of_the_server(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(KEYS)
    file, keys = str(tmp_path / "call.cgs"), str(tmp_path / "keys.toml")
    run("export", "call", "-o", file)

    def import_as(name: str, tenant: str, **settings: str) -> Result:
        return run("import", name, file, "--tenant", tenant, **settings)

    assert import_as("second", "acme", keys_file=keys).exit_code == 0
    assert "reached its limit of sessions" in import_as("third", "acme", keys_file=keys).stderr
    assert import_as("third", "beta", keys_file=keys).exit_code == 0
    assert "tenant 'gamma' has no API key" in import_as("call", "gamma", keys_file=keys).stderr
    assert "is full" in import_as("fourth", "beta", max_sessions="7").stderr
    assert "max_body_bytes" in import_as("fourth", "beta", max_body_bytes="100").stderr
    assert names_of(run("list", "--tenant", "acme")) == ["call", "second"]
    assert names_of(run("list", "--tenant", "beta")) == ["call", "third", "v2/vowels/7"]
    assert names_of(run("list", "--tenant", "gamma")) == []


def test_a_store_that_does_not_exist_is_reported_and_not_created(run: Run, tmp_path: Path) -> None:
    directory = ("--sessions-dir", str(tmp_path / "typo"))
    for name, *arguments in (["list"], ["show", "call"], ["rm", "call"], ["export", "call"]):
        shown = run(name, *directory, *arguments)
        assert shown.exit_code == 1 and "no session store in" in shown.output
    assert not (tmp_path / "typo").exists()
    shown = run("list", "--store", "memory")
    assert shown.exit_code == 1 and "memory store" in shown.output
    assert run("list", "--limit", "-1", *directory).exit_code == 2


def test_an_export_that_cannot_be_written_is_an_error_and_no_traceback(run: Run, tmp_path: Path) -> None:
    refused = run("export", "call", "-o", str(tmp_path / "nowhere" / "call.cgs"))
    assert refused.exit_code == 1 and isinstance(refused.exception, SystemExit)
    assert "nowhere/call.cgs" in refused.output and "No such file or directory" in refused.output
