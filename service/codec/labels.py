"""The labels of a prediction, from an output of probabilities. It knows outputs; it knows no request.

    kind            probabilities are of            fields
    probabilities   classes, one of which is true   "label": "3", "probability": 0.97
    labels          independent labels              "labels": [{"label": "rain", "probability": 0.97}, …]

With `return: all`, each field is a list with its value at each step.
"""

from math import isfinite
from typing import Any

import numpy as np

from service.manifest import OutputSpec
from service.sequence import Array

KINDS = ("probabilities", "labels")  # of outputs that have labels
ENTRY = len('{"label":,"probability":}') + 1  # characters of an entry of "labels" beside its values


def add_labels(prediction: dict[str, Any], spec: OutputSpec, output: Array) -> None:
    """Add the fields of an output [*dims], or [time, *dims]; none if it has another kind.

    Where a probability is not a number there is no label: no field, or null.
    """
    if spec.kind not in KINDS or len(spec.dims) != 1:
        return
    if spec.kind == "labels":
        if output.ndim > 1:
            prediction["labels"] = [predicted(spec, step) for step in output]
        elif (found := predicted(spec, output)) is not None:
            prediction["labels"] = found
    elif output.ndim == 1:
        _add_class(prediction, spec, output)
    else:
        _add_classes(prediction, spec, output)


def predicted(spec: OutputSpec, step: Array) -> list[dict[str, Any]] | None:
    """The labels whose probability reaches the threshold, the likeliest first; None if one is not a number.

    `step`: [labels].
    """
    if not np.isfinite(step).all():
        return None
    reached = np.flatnonzero(step.astype(np.float64) >= spec.label_thresholds)
    order = reached[np.argsort(-step[reached], kind="stable")]
    return [{"label": spec.labels[place], "probability": step[place]} for place in order.tolist()]


def _add_class(prediction: dict[str, Any], spec: OutputSpec, output: Array) -> None:
    best = int(output.argmax())  # the first NaN, if there is one
    probability = output[best]
    if isfinite(probability):
        if spec.labels:
            prediction["label"] = spec.labels[best]
        prediction["probability"] = probability


def _add_classes(prediction: dict[str, Any], spec: OutputSpec, output: Array) -> None:
    probabilities = output.max(-1)
    if spec.labels:
        best_of_each = zip(output.argmax(-1).tolist(), np.isfinite(probabilities), strict=True)
        prediction["label"] = [spec.labels[best] if is_finite else None for best, is_finite in best_of_each]
    prediction["probability"] = probabilities
