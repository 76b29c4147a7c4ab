"""Parts for the FastAPI application, built by the tests."""

import asyncio
import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx

from service.api import build
from service.errors import CellgateError
from service.metrics import Metrics, Registry, Scrape
from service.repository import Policies, Repository, Rollout, Steering
from service.sessions import Limits, Resources, Sessions, SteadyClock
from service.sessions.store.memory import MemoryStore


class Ready:
    """A readiness that is decided by the test."""

    def __init__(self, error: CellgateError | None = None, store_error: CellgateError | None = None) -> None:
        self._error, self._store_error = error, store_error

    async def check(self, *, sessions: bool) -> None:
        if self._error is not None:
            raise self._error
        if sessions and self._store_error is not None:
            raise self._store_error


async def sample_nothing() -> None:
    """There is nothing but what is counted."""


class Api:
    """The application with loaded models and an empty memory store, called without a server."""

    def __init__(
        self,
        repository: Repository,
        readiness: Ready | None = None,
        *,
        max_reply_bytes: int = 1 << 20,
        root: Path | None = None,
        is_admin: bool = True,
        website: Path | None = None,
    ) -> None:
        """`root`: of the models whose policies may change; by default there are none."""
        self.repository = repository
        self.folder = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.folder)
        root = root or self.folder
        self.policies = Policies(root)
        self.policies.read()
        self.rollout = Rollout(repository, self.policies, self.folder)
        steering = Steering(root, repository, self.policies, self.rollout, timeout_s=0.2)
        self.sessions = Sessions(MemoryStore(Limits()), ttl_s=60, clock=SteadyClock(None))
        self._app = build(
            repository=repository,
            resources=Resources(self.sessions, repository.get, max_ttl_s=3600),
            readiness=readiness or Ready(),
            steering=steering,
            is_admin=lambda _: is_admin,
            max_sequences=16,
            max_reply_bytes=max_reply_bytes,
            serves_ui=True,
            website=website,
            scrape=Scrape(Metrics(Registry()), sample_nothing),
        )

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._app.openapi()

    def request(self, method: str, path: str, **fields: Any) -> httpx.Response:
        """The response; an error of the application is raised."""

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://cellgate") as client:
                return await client.request(method, path, **fields)

        return asyncio.run(call())
