"""Counts the engine calls of one model version."""

from service.metrics.metrics import Metrics


class Calls:
    """How long each call took and how many sequences and steps it had."""

    __slots__ = ("_observe_seconds", "_observe_sequences", "_observe_steps")

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._observe_seconds = metrics.calls.labels(model, version).observe
        self._observe_sequences = metrics.call_sequences.labels(model, version).observe
        self._observe_steps = metrics.call_steps.labels(model, version).observe

    def add(self, sequences: int, steps: int, seconds: float) -> None:
        """Count one call; `steps`: of its longest chunk."""
        self._observe_seconds(seconds)
        self._observe_sequences(sequences)
        self._observe_steps(steps)
