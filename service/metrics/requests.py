"""Counts requests by route, version, status and code, and times the stages of those that were answered."""

from collections.abc import Callable, Mapping
from typing import Any

from service.metrics.metrics import Metrics
from service.stages import STAGES, Stages

Observe = Callable[[float], None]

OTHER = "other"  # the route of requests that were refused before they were routed, or to unknown paths


class Requests:
    """The durations of all requests of this worker. Label values are the server's own, never a client's."""

    def __init__(self, metrics: Metrics) -> None:
        self._family = metrics.requests
        self._stages = metrics.stages
        self._observe: dict[tuple[str, str, str, int, str], Observe] = {}
        self._observe_stages: dict[tuple[str, str], list[Observe]] = {}

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
        key = (
            route,
            get("model", ""),
            get("version", ""),
            status,
            "ok" if status < 400 else get("code", "ok"),
        )
        observe = self._observe.get(key)
        if observe is None:
            labels = (route, key[1], key[2], str(status), key[4])
            observe = self._observe[key] = self._family.labels(*labels).observe
        observe(seconds)
        if stages is not None:
            decode, queue, run, commit, encode = self._stages_of(key[1], key[2])
            decode(stages.decode_s)
            queue(stages.queue_s)
            run(stages.run_s)
            commit(stages.commit_s)
            encode(stages.encode_s)

    def _stages_of(self, model: str, version: str) -> list[Observe]:
        found = self._observe_stages.get((model, version))
        if found is None:
            found = [self._stages.labels(stage, model, version).observe for stage in STAGES]
            self._observe_stages[model, version] = found
        return found
