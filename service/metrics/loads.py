"""Counts loads of model versions."""

from service.metrics.metrics import Metrics


class Loads:
    """Loads that succeeded or failed, and how long the last of each version took."""

    def __init__(self, metrics: Metrics) -> None:
        self._loaded, self._failed = metrics.loads.labels("loaded"), metrics.loads.labels("failed")
        self._seconds = metrics.load_seconds

    def add_failed(self) -> None:
        """A version could not be loaded. May be called in any thread, one at a time."""
        self._failed.add()

    def add(self, model: str, version: str, seconds: float) -> None:
        """A version is served, and its load took `seconds`. To be called on the event loop."""
        self._loaded.add()
        self._seconds.labels(model, version).set(seconds)
