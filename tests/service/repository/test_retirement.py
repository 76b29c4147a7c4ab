"""A deleted version is served to its sessions until they have ended, and its copy is kept as long."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from service.engine import Batching
from service.errors import UnknownVersion
from service.repository import (
    Hardware,
    Loader,
    Repository,
    RetainedCopies,
    Retirement,
    SafeLoader,
    Stopping,
    Trials,
)
from service.sessions import Binding

BATCHING = Batching(max_batch=8, chunk_steps=16, max_waiting=64)
RETIRE_S = 10.0


class World:
    """A repository whose version 1 has retired, and the sessions that are on it."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.root, self.copies = folder / "models", RetainedCopies(folder / "copies")
        for version in ("1", "2"):
            shutil.copytree(source, self.root / "vowels" / version)
        self.held: set[Binding] = set()
        self.num_searches = 0
        self.now = 0.0

    def start(self) -> tuple[Repository, Retirement]:
        trials = Trials(batching=BATCHING, provider="cpu", threads=1, seconds=60, max_bytes=4 << 30)
        loader = SafeLoader(Loader(BATCHING, Hardware("cpu", 1)), trials, self.copies)
        repository = Repository.load(self.root, loader)
        retirement = Retirement(
            repository,
            loader,
            self.copies,
            self.find_on,
            retire_s=RETIRE_S,
            stop=Stopping(grace_s=0),
            clock=lambda: self.now,
        )
        return repository, retirement

    async def find_on(self, bindings: Collection[Binding]) -> set[Binding]:
        self.num_searches += 1
        return self.held & set(bindings)

    def delete(self, version: str, repository: Repository | None = None) -> None:
        shutil.rmtree(self.root / "vowels" / version)
        if repository is not None:
            repository.retire("vowels", version, self.now)


@pytest.fixture
def world(models_dir: Path, tmp_path: Path) -> World:
    return World(models_dir / "vowels" / "1", tmp_path)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def work() -> None:
        await body()

    asyncio.run(work())


def test_a_version_outlives_its_folder_and_a_restart_while_a_session_is_on_it(world: World) -> None:
    async def body() -> None:
        repository, retirement = world.start()
        retired = repository.get("vowels", "1")
        world.held = {retired.binding}
        world.delete("1", repository)
        for world.now in (RETIRE_S + 1, 3 * RETIRE_S):
            await retirement.check()
        assert [model.version for model in repository] == ["1", "2"] and world.num_searches == 2
        await repository.stop()

        repository, retirement = world.start()
        assert [model.version for model in repository] == ["2"]
        await retirement.load_retained()
        again = repository.get("vowels", "1")
        assert repository.is_retired(again) and again.binding == retired.binding
        assert repository.get().version == "2"

        world.held = set()
        world.now = 1e12  # the repository's own clock has seen the requests above
        await retirement.check()
        assert [model.version for model in repository] == ["2"]
        while again.worker.is_alive:
            await asyncio.sleep(0)
        assert again.binding in list(world.copies), "another worker may have started a session meanwhile"
        world.now += RETIRE_S + 1
        await retirement.check()
        assert again.binding not in list(world.copies)
        await repository.stop()

    run(body)


def test_a_session_that_another_worker_started_meanwhile_finds_its_version_again(world: World) -> None:
    async def body() -> None:
        repository, retirement = world.start()
        retired = repository.get("vowels", "1")
        world.delete("1", repository)
        world.now = 1e12
        await retirement.check()
        with pytest.raises(UnknownVersion):
            repository.get("vowels", "1")
        world.held = {retired.binding}
        world.now += RETIRE_S + 1
        await retirement.check()
        assert repository.get("vowels", "1").binding == retired.binding
        await repository.stop()

    run(body)


def test_a_version_in_use_is_not_examined(world: World) -> None:
    async def body() -> None:
        repository, retirement = world.start()
        world.delete("1", repository)
        world.now = RETIRE_S - 1
        await retirement.check()
        assert world.num_searches == 0 and len(list(repository)) == 2
        await repository.stop()

    run(body)


def test_a_version_that_comes_back_during_the_search_stays(world: World) -> None:
    async def body() -> None:
        repository, retirement = world.start()
        version = repository.get("vowels", "1")
        world.delete("1", repository)
        world.now = 1e12
        find_on = world.find_on

        async def meanwhile(bindings: Collection[Binding]) -> set[Binding]:
            repository.add(version)
            return await find_on(bindings)

        retirement._find_on = meanwhile
        await retirement.check()
        assert repository.get("vowels", "1") is version and not repository.is_retired(version)
        await repository.stop()

    run(body)


def test_a_changed_copy_is_not_served(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        repository, _ = world.start()
        binding = repository.get("vowels", "1").binding
        world.delete("1")
        await repository.stop()
        copy = world.copies.folder(binding)
        other = world.copies.folder(Binding("vowels", "1", bytes(8)))
        other.parent.mkdir(parents=True)
        copy.rename(other)
        repository, retirement = world.start()
        await retirement.load_retained()
        assert [model.version for model in repository] == ["2"] and "the copy was changed" in caplog.text
        (world.copies.folder(repository.get().binding) / "model.onnx").write_bytes(b"no graph")
        await repository.stop()

    run(body)


def test_a_copy_that_cannot_be_loaded_is_reported_and_ends_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        repository, _ = world.start()
        binding = repository.get("vowels", "1").binding
        world.delete("1")
        await repository.stop()
        (world.copies.folder(binding) / "model.onnx").write_bytes(b"no graph")
        repository, retirement = world.start()
        await retirement.load_retained()
        assert [model.version for model in repository] == ["2"]
        assert "not served to its sessions" in caplog.text
        await repository.stop()

    run(body)
