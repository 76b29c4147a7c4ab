"""What the reloader notices, look after look; `tests/e2e/test_reload.py` sees it in running servers."""

import shutil
from pathlib import Path

import pytest

from service.repository.rehearsal import Batching
from service.repository.reload import Reloader, Signature, look
from service.repository.repository import Hardware, Repository, prepare

BATCHING = Batching(max_batch=8, chunk_steps=16, max_waiting=64)


def versions(repository: Repository) -> list[tuple[str, bool]]:
    return [(model.version, repository.is_retired(model)) for model in repository]


def died() -> None:
    pytest.fail("a worker died")


def load(root: Path, *, skips_faulty: bool = False) -> Repository:
    return Repository.load(root, BATCHING, Hardware("cpu", 1), on_death=died, skips_faulty=skips_faulty)


def follow(repository: Repository, root: Path, served: dict[Path, Signature], *, retire_s: float) -> Reloader:
    return Reloader(
        repository,
        root,
        served=served,
        prepare=lambda folder: prepare(folder, BATCHING, Hardware("cpu", 1)),
        on_death=died,
        retire_s=retire_s,
        grace_s=0,
    )


@pytest.mark.anyio
async def test_what_comes_or_goes_while_the_models_are_loaded_is_noticed(
    models_dir: Path, tmp_path: Path
) -> None:
    root = tmp_path / "vowels"
    shutil.copytree(models_dir / "vowels" / "1", root / "1")
    shutil.copytree(models_dir / "vowels" / "1", tmp_path / ".late")
    before = look(tmp_path)
    repository = load(tmp_path)
    (tmp_path / ".late").rename(root / "2")
    shutil.rmtree(root / "1")
    reloader = follow(repository, tmp_path, before, retire_s=60)
    await reloader.check()
    assert versions(repository) == [("1", True)], "one look is no proof that the copy is complete"
    await reloader.check()
    assert versions(repository) == [("1", True), ("2", False)]
    await repository.stop()


@pytest.mark.anyio
async def test_a_version_that_could_not_be_served_can_go_again(models_dir: Path, tmp_path: Path) -> None:
    """It was never anybody's: to retire it later broke whoever looks for models."""
    shutil.copytree(models_dir / "vowels" / "1", tmp_path / "vowels" / "1")
    shutil.copytree(models_dir / "vowels" / "1", tmp_path / "vowels" / "2")
    (tmp_path / "vowels" / "2" / "model.onnx").write_bytes(b"no graph")
    before = look(tmp_path)
    repository = load(tmp_path, skips_faulty=True)
    reloader = follow(repository, tmp_path, before, retire_s=0)
    shutil.rmtree(tmp_path / "vowels" / "2")
    for _ in range(3):
        await reloader.check()
        assert versions(repository) == [("1", False)]
    await repository.stop()
