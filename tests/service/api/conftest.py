"""The application around the committed model, loaded once."""

from pathlib import Path

import pytest

from service.repository import Repository
from tests.service.api.parts import Api
from tests.service.loading import load


@pytest.fixture(scope="session")
def repository(models_dir: Path) -> Repository:
    return load(models_dir)


@pytest.fixture
def api(repository: Repository) -> Api:
    return Api(repository)
