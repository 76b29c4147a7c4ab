"""The application around the committed model, loaded once."""

from pathlib import Path

import pytest

from service.repository import Repository
from tests.service.api.parts import Api
from tests.service.loading import load

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="session")
def repository() -> Repository:
    return load(MODELS)


@pytest.fixture
def api(repository: Repository) -> Api:
    return Api(repository)
