"""Shared fixtures: the committed model, repeatable Hypothesis examples, and an environment of its own."""

import functools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from service.manifest import Manifest
from tests.committed import committed_models
from tests.environment import heed_signals, isolate
from tests.promises import MARKER, Promises

isolate(os.environ)  # before a test module reads it
heed_signals()
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that ties tests to the promises of docs/sessions.md."""
    config.addinivalue_line("markers", MARKER)
    config.pluginmanager.register(Promises(), "promises")


@pytest.fixture(scope="session", autouse=True)
def certificates_once() -> Iterator[None]:
    """Read the certificates once: httpx reads them for each client, which takes longer than a request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return committed_models()


@pytest.fixture(scope="session")
def vowels(models_dir: Path) -> Manifest:
    """The manifest of the committed model."""
    return Manifest.read(models_dir / "vowels" / "1")


@pytest.fixture(scope="session")
def utterance(vowels: Manifest) -> list[list[float]]:
    """The committed model's example, [time, 12]."""
    assert vowels.example is not None and isinstance(vowels.example.steps, list)
    return vowels.example.steps
