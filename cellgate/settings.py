"""What a client needs to know: read once, from arguments or from the environment."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A frozen value. Raises ValueError for a value out of range."""

    url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    """Longest silence of one attempt, while it connects, sends or waits for its reply (s)."""
    max_retry_s: float = 30.0
    """No attempt begins later than this after the first one (s); 0: no retries."""
    first_backoff_s: float = 0.1
    """Longest wait before the second attempt (s); it doubles with each one. The wait is random below it."""
    max_backoff_s: float = 5.0
    """Longest wait between two attempts that the server has not asked for (s)."""
    max_sequences: int = 256
    """Sequences in one request of `predict`; more are sent in several."""
    max_connections: int = 100
    """Open connections; a call above it waits, at most `timeout_s`."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: expected http://host[:port][/path] or https://…, got {self.url!r}")
        for name in ("timeout_s", "first_backoff_s", "max_backoff_s", "max_sequences", "max_connections"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)!r}")
        if not self.max_retry_s >= 0:
            raise ValueError(f"max_retry_s: expected a number from 0, got {self.max_retry_s!r}")


def url_or_default(url: str | None) -> str:
    """The URL, else that of `CELLGATE_URL`, else the default of a server on this machine."""
    return url or os.environ.get("CELLGATE_URL") or DEFAULT_URL


def key_or_default(api_key: str | None) -> str | None:
    """The API key, else that of `CELLGATE_API_KEY`, else none."""
    return api_key or os.environ.get("CELLGATE_API_KEY") or None
