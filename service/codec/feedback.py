"""Which numbers of a step a model forecasts itself, and the values that its outputs have for them.

    output of step t ─ quantiles of a feature at t + 1 ─→ the middle, or a drawn one ─→ input of step t + 1

It knows the manifest; it knows nothing of requests, sessions or engines.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.manifest import InputSpec, Manifest
from service.sequence import Array


@dataclass(slots=True, frozen=True)
class Fed:
    """A number of a step whose value an output of the step before forecasts."""

    name: str  # of the feature
    input: int  # index in `Manifest.step_inputs`
    column: int  # in a step of it
    output: int  # index in `Manifest.outputs`
    places: tuple[int, ...]  # in a step of that: one, or those of the quantiles in rising order
    quantiles: tuple[float, ...] = ()  # of each place; none: a single value

    @property
    def is_drawable(self) -> bool:
        """Whether its outputs describe a distribution."""
        return len(self.quantiles) > 1

    def middle(self, outputs: Array) -> Array:
        """[samples] from outputs [samples, …]: the value, or the quantile next to 0.5, the lower of two."""
        distances = [abs(quantile - 0.5) for quantile in self.quantiles or (0.5,)]
        place = self.places[distances.index(min(distances))]
        return np.asarray(outputs.reshape(len(outputs), -1)[:, place])

    def draw(self, outputs: Array, chances: Array) -> Array:
        """[samples] from outputs [samples, …]: the quantiles at `chances` [samples], each in [0, 1).

        The quantile function is a straight line between two quantiles; beyond the outer ones, the line of the
        two next to them continues. Computed in float64.
        """
        levels = np.array(self.quantiles)
        values = outputs.reshape(len(outputs), -1)[:, self.places].astype(np.float64)
        below = np.clip(np.searchsorted(levels, chances, side="right") - 1, 0, len(levels) - 2)
        rows = np.arange(len(outputs))
        share = (chances - levels[below]) / (levels[below + 1] - levels[below])
        return np.asarray(values[rows, below] + share * (values[rows, below + 1] - values[rows, below]))


def feedback_of(manifest: Manifest) -> tuple[Fed, ...]:
    """The numbers of a step that the model forecasts, in the order of the inputs.

    Those are the features that `forecasts` of an output names one step ahead; and an output of values that is
    named like an input and has its shape forecasts all of it. Only inputs of real numbers count.
    """
    fed = [
        one
        for index, spec in enumerate(manifest.step_inputs)
        if spec.kind == "numeric" and spec.dtype.startswith("float") and len(spec.dims) < 2
        for one in _feedback_to(index, spec, manifest)
    ]
    return tuple(fed)


def column_names(spec: InputSpec) -> tuple[str, ...]:
    """A name for each number of a step of an input."""
    if spec.features:
        return spec.features
    return tuple(f"{spec.name}[{column}]" for column in range(spec.width)) if spec.dims else (spec.name,)


def _feedback_to(index: int, spec: InputSpec, manifest: Manifest) -> list[Fed]:
    names = column_names(spec)
    for output, source in enumerate(manifest.outputs):
        if (source.name, source.dims, source.kind) == (spec.name, spec.dims, "values"):
            return [Fed(name, index, column, output, (column,)) for column, name in enumerate(names)]
    forecasts = _forecasts_of(manifest)
    return [
        Fed(name, index, column, output, tuple(places), tuple(q for q in quantiles if q is not None))
        for column, name in enumerate(names)
        if name in forecasts
        for output, places, quantiles in (forecasts[name],)
    ]


def _forecasts_of(manifest: Manifest) -> Mapping[str, tuple[int, list[int], list[float | None]]]:
    """By feature: the first output that forecasts it one step ahead, the places in it, their quantiles."""
    found: dict[str, tuple[int, list[int], list[float | None]]] = {}
    for output, spec in enumerate(manifest.outputs):
        by_feature: defaultdict[str, list[tuple[float, int, float | None]]] = defaultdict(list)
        for place, forecast in enumerate(spec.forecasts):
            if forecast.steps == 1:
                by_feature[forecast.feature].append((forecast.quantile or 0.0, place, forecast.quantile))
        for feature, entries in by_feature.items():
            entries.sort()
            found.setdefault(feature, (output, [e[1] for e in entries], [e[2] for e in entries]))
    return found
