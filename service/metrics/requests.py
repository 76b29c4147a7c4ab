"""Counts requests by route, version, status and code, and times the stages of those that were answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from service.metrics.metrics import Metrics
from service.metrics.registry import Row
from service.stages import STAGES, Stages

OTHER = "other"  # the route of requests that were refused before they were routed, or to unknown paths


@dataclass(slots=True)
class _Kind:
    """What observes the requests with the same labels: found once for a request."""

    observe: Callable[[float], None]
    observe_stages: Callable[[Stages], None] | None = None  # created by the first that has them


class Requests:
    """The durations of all requests of this worker. Label values are the server's own, never a client's."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._kinds: dict[tuple[str, str, str, int, str], _Kind] = {}
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
        code = "ok" if status < 400 else get("code", "ok")
        key = route, get("model", ""), get("version", ""), status, code
        kind = self._kinds.get(key) or self._kind(key)
        kind.observe(seconds)
        if stages is not None:
            observe_stages = kind.observe_stages
            if observe_stages is None:
                observe_stages = kind.observe_stages = self._row(key[1], key[2]).observe
            observe_stages(stages)

    def _kind(self, key: tuple[str, str, str, int, str]) -> "_Kind":
        route, model, version, status, code = key
        histogram = self._metrics.requests.labels(route, model, version, str(status), code)
        kind = self._kinds[key] = _Kind(histogram.observe)
        return kind

    def _row(self, model: str, version: str) -> Row[Stages]:
        row = self._stages.get((model, version))
        if row is None:
            row = self._stages[model, version] = self._new_row(model, version)
        return row

    def _new_row(self, model: str, version: str) -> Row[Stages]:
        histograms = [self._metrics.stages.labels(stage, model, version) for stage in STAGES]
        return self._metrics.registry.row(histograms, attrgetter(*[f"{stage}_s" for stage in STAGES]))
