"""Counts requests: by route, version, status and code."""

from collections.abc import Callable, Mapping
from typing import Any

from service.metrics.metrics import Metrics

OTHER = "other"  # the route of requests that were refused before they were routed, or to unknown paths


class Requests:
    """The durations of all requests of this worker. Label values are the server's own, never a client's."""

    def __init__(self, metrics: Metrics) -> None:
        self._family = metrics.requests
        self._observe: dict[tuple[str, str, str, int, str], Callable[[float], None]] = {}

    def add(self, route: str, status: int, fields: Mapping[str, Any], seconds: float) -> None:
        """Count one request. `fields`: of its line in the access log, with `model`, `version` and `code`."""
        get = fields.get
        key = (route, get("model", ""), get("version", ""), status, get("code", "ok"))
        observe = self._observe.get(key)
        if observe is None:
            labels = (route, key[1], key[2], str(status), key[4])
            observe = self._observe[key] = self._family.labels(*labels).observe
        observe(seconds)
