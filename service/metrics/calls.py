"""Counts the engine calls of one model version."""

from collections.abc import Callable

from service.metrics.metrics import Metrics

NUM_SIZES = 24  # 1, 2, 4, … sequences


class Calls:
    """How long each call took, by the number of its sequences, and how many sequences and steps it had."""

    __slots__ = ("_family", "_observe_seconds", "_observe_sequences", "_observe_steps", "_version")

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._family, self._version = metrics.calls, (model, version)
        self._observe_seconds: list[Callable[[float], None] | None] = [None] * NUM_SIZES
        self._observe_sequences = metrics.call_sequences.labels(model, version).observe
        self._observe_steps = metrics.call_steps.labels(model, version).observe

    def add(self, sequences: int, steps: int, seconds: float) -> None:
        """Count one call; `steps`: of its longest chunk."""
        size = (sequences - 1).bit_length()
        observe = self._observe_seconds[size]
        if observe is None:
            observe = self._family.labels(*self._version, str(1 << size)).observe
            self._observe_seconds[size] = observe
        observe(seconds)
        self._observe_sequences(sequences)
        self._observe_steps(steps)
