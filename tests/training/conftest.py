"""One small finished run on the real data, shared by the tests that only read it."""

from pathlib import Path

import pytest

from training import data, run
from training.config import Config, Recipe
from training.data.dataset import DataSet

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def vowels() -> DataSet:
    return data.load("vowels")


@pytest.fixture(scope="session")
def small() -> Config:
    return Config(
        data="vowels",
        recipe=Recipe(hidden=24, epochs=4, patience=3, dropout=0.3, noise=0.3),
        accelerator="cpu",
    )


@pytest.fixture(scope="session")
def finished(small: Config, tmp_path_factory: pytest.TempPathFactory) -> run.Run:
    done = run.train(small, tmp_path_factory.mktemp("run") / "small")
    assert done is not None
    return done


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY
