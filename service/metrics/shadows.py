"""Counts how the answers of a shadow version differ from those of the version that a session is on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.metrics.metrics import Metrics
from service.metrics.totals import Totals

EVENTS = ("label_change", "failure", "dropped", "forked")


class ShadowCounts:
    """The counts of one version and its shadow in this worker."""

    def __init__(self, metrics: Metrics, model: str, version: str, shadow: str) -> None:
        labels = (model, version, shadow)
        self._steps, self._values, self._difference = (
            family.labels(*labels)
            for family in (metrics.shadow_steps, metrics.shadow_values, metrics.shadow_difference)
        )
        self._max_difference = metrics.shadow_max_difference.labels(*labels)
        self._largest = 0.0
        self._label_changes, self.failures, self.dropped, self.forked = (
            metrics.shadow_events.labels(*labels, event) for event in EVENTS
        )

    def add(self, steps: int, differences: NDArray[np.float64], label_changes: int) -> None:
        """Count a compared request. `differences`: absolute, of any shape; those not finite are left out."""
        differences = differences[np.isfinite(differences)]
        self._steps.add(steps)
        self._values.add(differences.size)
        self._difference.add(float(differences.sum()))
        self._label_changes.add(label_changes)
        self._largest = max(self._largest, float(differences.max(initial=0.0)))
        self._max_difference.set(self._largest)


@dataclass(slots=True, frozen=True)
class Comparison:
    """A version and its shadow, over all workers of a server."""

    version: str
    steps: int  # compared
    mean_difference: float
    max_difference: float
    label_changes: int
    failures: int
    dropped: int
    forked: int


def comparisons(totals: dict[str, Totals], model: str, shadow: str) -> list[Comparison]:
    """What was counted of a shadow version, for each version that sessions are on."""

    def total(name: str, *labels: str) -> float:
        return totals.get(name, {}).get(labels, [0.0])[0]

    found = []
    for labels in sorted(totals.get("cellgate_shadow_steps", {})):
        if (labels[0], labels[2]) != (model, shadow):
            continue
        label_changes, failures, dropped, forked = (
            round(total("cellgate_shadow_events", *labels, event)) for event in EVENTS
        )
        num_values = total("cellgate_shadow_values", *labels)
        found.append(
            Comparison(
                version=labels[1],
                steps=round(total("cellgate_shadow_steps", *labels)),
                mean_difference=total("cellgate_shadow_difference", *labels) / max(num_values, 1.0),
                max_difference=total("cellgate_shadow_max_difference", *labels),
                label_changes=label_changes,
                failures=failures,
                dropped=dropped,
                forked=forked,
            )
        )
    return found
