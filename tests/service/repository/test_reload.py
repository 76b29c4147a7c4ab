"""What the reloader notices, scan after scan; `tests/e2e/test_reload.py` observes it in running servers."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from service.engine import Batching
from service.repository import (
    Hardware,
    Loader,
    Policies,
    Policy,
    Reloader,
    Repository,
    Scan,
    Stopping,
    scan,
    write_policy,
)
from service.repository.choice import Agreed, Choice


def fail() -> None:
    pytest.fail("an inference loop failed")


LOADER = Loader(Batching(max_batch=8, chunk_steps=16, max_waiting=64), Hardware("cpu", 1), fail)


def versions(repository: Repository) -> list[tuple[str, bool]]:
    return [(model.version, repository.is_retired(model)) for model in repository]


def load(root: Path, *, skips_faulty: bool = False) -> Repository:
    return Repository.load(root, LOADER, skips_faulty=skips_faulty)


def follow(repository: Repository, root: Path, loaded: Scan) -> Reloader:
    return Reloader(repository, root, LOADER, loaded=loaded, stop=Stopping(grace_s=0))


@pytest.fixture
def source(models_dir: Path) -> Path:
    return models_dir / "vowels" / "1"


def test_a_scan_has_the_versions_that_are_complete(source: Path, tmp_path: Path) -> None:
    first = tmp_path / "vowels" / "1"
    shutil.copytree(source, first)
    shutil.copytree(source, tmp_path / "vowels" / "2")
    (tmp_path / "vowels" / "2" / "model.json").unlink()
    before = scan(tmp_path)
    assert list(before) == [first]
    os.utime(first / "model.onnx", ns=(0, 0))
    assert scan(tmp_path)[first] != before[first]
    shutil.rmtree(first)
    assert scan(tmp_path) == {}


@pytest.mark.anyio
async def test_versions_added_or_deleted_while_the_models_are_loaded_are_noticed(
    source: Path, tmp_path: Path
) -> None:
    root = tmp_path / "vowels"
    shutil.copytree(source, root / "1")
    shutil.copytree(source, tmp_path / ".late")
    before = scan(tmp_path)
    repository = load(tmp_path)
    (tmp_path / ".late").rename(root / "2")
    shutil.rmtree(root / "1")
    reloader = follow(repository, tmp_path, before)
    await reloader.check()
    assert versions(repository) == [("1", True)], "one scan does not prove that the copy is complete"
    await reloader.check()
    assert versions(repository) == [("1", True), ("2", False)]
    await repository.stop()


@pytest.mark.anyio
async def test_a_version_that_could_not_be_served_can_be_deleted(source: Path, tmp_path: Path) -> None:
    """It was never loaded: retiring it later broke the look-up of models."""
    shutil.copytree(source, tmp_path / "vowels" / "1")
    shutil.copytree(source, tmp_path / "vowels" / "2")
    (tmp_path / "vowels" / "2" / "model.onnx").write_bytes(b"no graph")
    before = scan(tmp_path)
    repository = load(tmp_path, skips_faulty=True)
    reloader = follow(repository, tmp_path, before)
    shutil.rmtree(tmp_path / "vowels" / "2")
    for _ in range(3):
        await reloader.check()
        assert versions(repository) == [("1", False)]
    await repository.stop()


@pytest.mark.anyio
async def test_a_changed_version_replaces_the_one_that_is_loaded(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vowels" / "1"
    shutil.copytree(source, folder)
    before = scan(tmp_path)
    repository = load(tmp_path)
    replaced = repository.get()
    os.utime(folder / "model.json", ns=(0, 0))
    reloader = follow(repository, tmp_path, before)
    await reloader.check()
    assert repository.get() is replaced
    await reloader.check()
    assert repository.get() is not replaced
    while replaced.worker.is_alive:
        await asyncio.sleep(0)
    await repository.stop()


@pytest.mark.anyio
async def test_a_version_is_announced_before_it_is_served(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "vowels" / "1")
    loaded = scan(tmp_path)
    repository = load(tmp_path)
    announced: list[dict[str, str]] = []

    async def announce() -> None:
        announced.append(repository.statuses()["vowels"])

    reloader = Reloader(
        repository, tmp_path, LOADER, loaded=loaded, stop=Stopping(grace_s=0), announce=announce
    )
    shutil.copytree(source, tmp_path / "vowels" / "2")
    for _ in range(3):
        await reloader.check()
    assert announced == [{"1": "served", "2": "loading"}]
    assert versions(repository) == [("1", False), ("2", False)]
    await repository.stop()


@pytest.mark.anyio
async def test_a_faulty_new_version_is_logged_once_until_it_changes(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "vowels"
    shutil.copytree(source, root / "1")
    before = scan(tmp_path)
    repository = load(tmp_path)
    reloader = follow(repository, tmp_path, before)
    shutil.copytree(source, root / "2")
    (root / "2" / "model.onnx").write_bytes(b"no graph")
    for _ in range(3):
        await reloader.check()
    assert repository.statuses() == {"vowels": {"1": "served", "2": "failed"}}
    assert versions(repository) == [("1", False)] and caplog.text.count("not served: ") == 1
    shutil.copy(source / "model.onnx", root / "2" / "model.onnx")
    for _ in range(2):
        await reloader.check()
    assert versions(repository) == [("1", False), ("2", False)]
    await repository.stop()


@pytest.mark.anyio
async def test_a_model_is_unloaded_once_all_workers_agree_and_loaded_again(
    source: Path, tmp_path: Path
) -> None:
    shutil.copytree(source, tmp_path / "vowels" / "1")
    loaded = scan(tmp_path)
    repository = load(tmp_path)
    policies = Policies(tmp_path)
    now = [0.0]
    reloader = Reloader(
        repository, tmp_path, LOADER, loaded=loaded, stop=Stopping(grace_s=0), policies=policies,
        every_s=5, clock=lambda: now[0],
    )  # fmt: skip
    write_policy(tmp_path / "vowels", Policy(unloaded=True))
    await reloader.follow()
    assert policies.unloaded() == frozenset(), "it is not yet time to look"
    now[0] = 5.0
    await reloader.follow()
    await reloader.follow()
    assert versions(repository) == [("1", False)], "the other workers still answer"
    repository.agree({"vowels": Agreed(Choice(is_unloaded=True))})
    (model,) = repository
    await reloader.follow()
    assert versions(repository) == [] and repository.statuses() == {}
    while model.worker.is_alive:
        await asyncio.sleep(0)
    assert list(Repository.load(tmp_path, LOADER, unloaded=policies.unloaded())) == [], "nor at a start"
    write_policy(tmp_path / "vowels", Policy())
    policies.read()
    await reloader.follow()
    assert versions(repository) == [("1", False)], "it scans at once, whatever the time"
    await repository.stop()
