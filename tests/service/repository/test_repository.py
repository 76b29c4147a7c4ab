"""Which loaded model answers a request, and what becomes of the versions that retire."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any, cast

import pytest

from service.engine import Batching, Worker
from service.errors import ModelLoading, StartupError, UnknownModel, UnknownVersion
from service.repository import Hardware, Loader, Model, Repository
from service.repository.choice import Agreed, Choice
from service.sessions import Binding
from tests.service.loading import load


class FakeWorker:
    """A worker that only starts and stops."""

    def __init__(self) -> None:
        self.is_alive = True
        self.is_stopped = False

    async def stop(self) -> None:
        self.is_stopped = True


def model(name: str, version: str) -> Model:
    unused = cast(Any, None)
    binding = Binding(name, version, b"12345678")
    return Model(name, version, unused, binding, cast(Worker, FakeWorker()), unused, 0.0)


def repository(*names: tuple[str, str]) -> Repository:
    return Repository([model(*name) for name in names])


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the committed model, to be changed."""
    copied = tmp_path / "vowels" / "1"
    shutil.copytree(models_dir / "vowels" / "1", copied)
    return copied


def test_version_ten_comes_after_version_two(folder: Path, tmp_path: Path) -> None:
    for version in ("2", "10"):
        shutil.copytree(folder, tmp_path / "vowels" / version)
    (tmp_path / "vowels" / "draft").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    loaded = load(tmp_path)
    assert loaded.get().version == "10"
    assert loaded.get("vowels", "2").version == "2"
    assert [each.version for each in loaded.versions("vowels")] == ["1", "2", "10"]
    with pytest.raises(UnknownVersion, match="there are 1, 2, 10"):
        loaded.get("vowels", "3")


def test_among_several_models_one_must_be_named() -> None:
    loaded = repository(("vowels", "1"), ("other", "1"))
    assert loaded.get("other").name == "other"
    with pytest.raises(UnknownModel, match='several models are loaded; set "model" to one of other, vowels'):
        loaded.get(None)
    with pytest.raises(UnknownModel, match="no model 'third'; there are other, vowels"):
        loaded.get("third")
    with pytest.raises(UnknownModel, match="no model 'third'; there are other, vowels"):
        loaded.versions("third")


def test_a_root_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"expected <name>/<version>/model\.onnx"):
        load(tmp_path / "empty")


def test_a_faulty_version_ends_the_start_or_is_left_out(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder, tmp_path / "vowels" / "2")
    (tmp_path / "vowels" / "2" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(StartupError, match="vowels/2"):
        load(tmp_path)

    async def start() -> Repository:
        loader = Loader(Batching(max_batch=8, chunk_steps=4, max_waiting=9), Hardware("cpu", 1))
        return Repository.load(tmp_path, loader, skips_faulty=True)

    loaded = asyncio.run(start())
    assert [each.version for each in loaded] == ["1"]
    assert "not served: " in caplog.text and "vowels/2" in caplog.text
    (folder / "model.json").unlink()
    with pytest.raises(StartupError, match="can be served"):
        asyncio.run(start())


def test_a_replaced_version_is_returned_and_still_running() -> None:
    loaded = repository(("m", "1"))
    first, second = loaded.get("m", "1"), model("m", "1")
    assert loaded.add(second) is first
    assert loaded.get("m", "1") is second
    assert loaded.add(model("m", "2")) is None


def test_a_retired_version_answers_only_requests_that_name_it() -> None:
    loaded = repository(("m", "1"), ("m", "2"))
    loaded.retire("m", "2", now=0.0)
    assert loaded.is_retired(loaded.get("m", "2")) and not loaded.is_retired(loaded.get("m", "1"))
    assert loaded.get("m").version == "1"
    assert [loaded.is_default(each) for each in loaded] == [True, False]
    loaded.retire("m", "1", now=0.0)
    assert not any(map(loaded.is_default, loaded))
    with pytest.raises(UnknownModel, match="every version of model 'm' is retired"):
        loaded.get("m")
    loaded.add(model("m", "2"))
    assert loaded.get("m").version == "2", "its folder is there again"


def test_a_retired_version_is_idle_once_no_request_has_named_it_for_a_while() -> None:
    loaded = repository(("m", "1"), ("m", "2"))
    loaded.retire("m", "1", now=10.0)
    loaded.retire("m", "1", now=99.0)  # the first time counts
    assert loaded.idle(before=10.0) == []
    (idle,) = loaded.idle(before=10.1)
    loaded.postpone(idle, now=11.0)
    assert loaded.idle(before=11.0) == [] and loaded.idle(before=11.1) == [idle]
    loaded.remove(idle)
    assert (idle.version, [each.version for each in loaded]) == ("1", ["2"])
    assert not cast(FakeWorker, idle.worker).is_stopped
    loaded.retire("m", "2", now=0.0)
    loaded.get("m", "2")  # now is later than 11.1 on the monotonic clock
    assert loaded.idle(before=11.1) == []
    loaded.remove(loaded.get("m", "2"))
    with pytest.raises(UnknownModel, match="no model 'm'"):
        loaded.get("m")


def test_a_version_that_was_never_loaded_does_not_retire() -> None:
    loaded = repository(("m", "1"))
    loaded.retire("m", "2", now=0.0)
    loaded.retire("other", "1", now=0.0)
    loaded.postpone(model("m", "2"), now=0.0)
    assert loaded.idle(before=float("inf")) == []


def test_an_agreed_default_changes_at_its_time_even_if_it_has_retired() -> None:
    loaded = repository(("m", "1"), ("m", "2"), ("m", "3"))
    loaded.agree({"m": Agreed(Choice("2"), Choice("1"), at=time.monotonic() + 3600)})
    assert loaded.get("m").version == "1"
    loaded.agree({"m": Agreed(Choice("2"), Choice("1"), at=time.monotonic())})
    assert loaded.get("m").version == "2"
    loaded.retire("m", "2", now=0.0)
    assert loaded.get("m").version == "2", "until all workers agree on another one"
    loaded.agree({"m": Agreed(Choice("4"), Choice("2"))})
    assert loaded.get("m").version == "3", "the agreed version could not be loaded here"


def test_without_a_readable_policy_only_named_versions_answer() -> None:
    loaded = repository(("m", "1"), ("m", "2"))
    loaded.agree({"m": Agreed(Choice(is_unknown=True))})
    with pytest.raises(ModelLoading, match="the policy of m has a fault"):
        loaded.get("m")
    assert loaded.get("m", "1").version == "1"


def test_a_version_that_is_being_loaded_is_not_unknown() -> None:
    loaded = repository(("m", "1"))
    with pytest.raises(UnknownVersion):
        loaded.get("m", "2")
    loaded.mark("m", "2", "loading")
    loaded.read_expected = lambda: frozenset({("n", "1")})
    for name, version in (("m", "2"), ("n", "1"), ("n", None)):
        with pytest.raises(ModelLoading):
            loaded.get(name, version)
    assert loaded.statuses() == {"m": {"1": "served", "2": "loading"}}
    loaded.mark("m", "2", "failed")
    with pytest.raises(UnknownVersion):
        loaded.get("m", "2")
    loaded.mark("m", "2", None)
    assert loaded.statuses() == {"m": {"1": "served"}}
    assert loaded.is_ahead("m", "2") and loaded.is_ahead("n", "1") and not loaded.is_ahead("m", "1")


def test_it_is_alive_while_every_worker_is_and_stops_them_all() -> None:
    loaded = repository(("a", "1"), ("b", "1"))
    workers = [cast(FakeWorker, each.worker) for each in loaded]
    assert loaded.is_alive
    workers[1].is_alive = False
    assert not loaded.is_alive
    asyncio.run(loaded.stop())
    assert all(worker.is_stopped for worker in workers)


def test_an_alias_stands_wherever_a_version_can() -> None:
    loaded = repository(("m", "1"), ("m", "2"), ("m", "3"))
    loaded.agree({"m": Agreed(Choice("2", "2", {"production": "1"}))})
    assert (loaded.get("m").version, loaded.get("m", "production").version) == ("2", "1")
    with pytest.raises(UnknownVersion, match="no version 'staging'"):
        loaded.get("m", "staging")


def test_a_default_that_a_policy_waits_for_is_not_replaced_by_another_version() -> None:
    """The highest answered in its place: a client got a version that nobody had asked for."""
    loaded = repository(("m", "1"), ("m", "3"))
    loaded.agree({"m": Agreed(Choice(None, "2"))})
    with pytest.raises(ModelLoading, match="the default version of m is 2 by its policy, and it is not load"):
        loaded.get("m")
    assert loaded.get("m", "3").version == "3"


def test_an_unloaded_model_does_not_answer() -> None:
    loaded = repository(("m", "1"), ("n", "1"))
    loaded.read_expected = lambda: frozenset({("m", "1")})
    loaded.agree({"m": Agreed(Choice(is_unloaded=True))})
    for version in (None, "1"):
        with pytest.raises(UnknownModel, match="'m' is unloaded"):
            loaded.get("m", version)
    loaded.remove(loaded.versions("m")[0])
    with pytest.raises(UnknownModel, match="'m' is unloaded"):
        loaded.get("m", "1")


def test_a_retired_version_that_a_policy_names_is_never_idle() -> None:
    loaded = repository(("m", "1"), ("m", "2"))
    loaded.agree({"m": Agreed(Choice("2", aliases={"old": "1"}))})
    loaded.retire("m", "1", 0.0)
    assert loaded.idle(1.0) == []
    loaded.agree({})
    assert [model.version for model in loaded.idle(1.0)] == ["1"]


def test_new_sessions_start_on_the_canary_by_its_weight() -> None:
    loaded = repository(("m", "1"), ("m", "2"))
    default = loaded.get("m", "1")
    assert loaded.get_for_session(default, "", "call") is default
    for weight, version in ((0.0, "1"), (1.0, "2")):
        loaded.agree({"m": Agreed(Choice("1", canary="2", weight=weight))})
        assert loaded.get_for_session(default, "", "call").version == version
    loaded.agree({"m": Agreed(Choice("1", canary="3", weight=1.0))})
    assert loaded.get_for_session(default, "", "call") is default, "this worker does not have it"
