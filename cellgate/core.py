"""What the synchronous and the asynchronous client share: settings, the catalog of models, health."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

import httpx

from cellgate.catalog import Catalog
from cellgate.cursor import Cursor
from cellgate.errors import CellgateError
from cellgate.flow import Flow, Send
from cellgate.predict import Result
from cellgate.predictions import Prediction
from cellgate.resources import StoredSession
from cellgate.retry import Retry
from cellgate.settings import Settings, key_or_default, url_or_default
from cellgate.stream.sockets import Address, address_of


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance of the retries; tests replace them."""

    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    """In [0, 1)."""


class Core:
    """The parts of a client that do no I/O."""

    def __init__(self, settings: Settings, timing: Timing) -> None:
        self.settings = settings
        self.retry = Retry(settings, timing.clock, timing.chance)
        self.catalog = Catalog(self.retry)

    @classmethod
    def of(
        cls,
        settings: Settings | None,
        timing: Timing | None,
        *,
        url: str | None,
        api_key: str | None,
        timeout_s: float,
        max_retry_s: float,
    ) -> Self:
        """With `settings`, or with the other options, whose defaults may be in the environment."""
        if settings is None:
            settings = Settings(
                url=url_or_default(url),
                api_key=key_or_default(api_key),
                timeout_s=timeout_s,
                max_retry_s=max_retry_s,
            )
        return cls(settings, timing or Timing())

    def http_options(self) -> dict[str, Any]:
        """Arguments of an httpx client."""
        headers = {"user-agent": f"cellgate-python/{_version()}", "accept-encoding": "identity"}
        if self.settings.api_key:
            headers["authorization"] = f"Bearer {self.settings.api_key}"
        limits = httpx.Limits(max_connections=self.settings.max_connections)
        return {
            "base_url": self.settings.url,
            "headers": headers,
            "limits": limits,
            "timeout": self.settings.timeout_s,
        }

    def address(self) -> Address:
        """Where streams are."""
        return address_of(self.settings, self.http_options()["headers"])

    def cursor(self, name: str, **options: Any) -> Cursor:
        """A place in a session."""
        return Cursor(name, self.catalog, self.retry, **options)

    def cursor_of(self, stored: StoredSession) -> Cursor:
        """A place in a session that was just made."""
        cursor = self.cursor(stored.session, model=stored.model, at=stored.step)
        cursor.rewinds = stored.rewinds if stored.history else None
        return cursor


def check_health(path: str) -> Flow[bool]:
    """Whether a health route answers 200. One attempt."""
    outcome = yield Send("GET", path)
    return isinstance(outcome, httpx.Response) and outcome.status_code == 200


def predictions_of(results: Iterable[Result]) -> list[Prediction]:
    """The predictions; raises the error of the first sequence that has none."""
    predictions: list[Prediction] = []
    for result in results:
        if isinstance(result, CellgateError):
            raise result
        predictions.append(result)
    return predictions


def _version() -> str:
    try:
        return version("cellgate")
    except PackageNotFoundError:  # a copy of the folder
        return "0"
