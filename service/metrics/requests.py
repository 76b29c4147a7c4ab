"""Counts requests by route, version, status and code, and times the stages of those that were answered."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from service.metrics.metrics import Metrics
from service.metrics.registry import Row
from service.stages import STAGES, Stages

OTHER = "other"  # the route of requests that were refused before they were routed, or to unknown paths


class Requests:
    """The durations of all requests of this worker. Label values are the server's own, never a client's."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._observe: dict[tuple[str, str, str, int, str], Callable[[float], None]] = {}
        self._stages: dict[tuple[str, str], Row[Stages]] = {}

    def add(
        self,
        route: str,
        status: int,
        fields: Mapping[str, Any],
        seconds: float,
        stages: Stages | None = None,
    ) -> None:
        """Count one request. `fields`: of its line in the access log, with `model`, `version` and `code`."""
        get = fields.get
        model, version = get("model", ""), get("version", "")
        key = route, model, version, status, "ok" if status < 400 else get("code", "ok")
        observe = self._observe.get(key)
        if observe is None:
            labels = route, model, version, str(status), key[4]
            observe = self._observe[key] = self._metrics.requests.labels(*labels).observe
        observe(seconds)
        if stages is not None:
            row = self._stages.get((model, version))
            if row is None:
                row = self._stages[model, version] = self._row(model, version)
            row.observe(stages)

    def _row(self, model: str, version: str) -> Row[Stages]:
        histograms = [self._metrics.stages.labels(stage, model, version) for stage in STAGES]
        return self._metrics.registry.row(histograms, attrgetter(*[f"{stage}_s" for stage in STAGES]))
