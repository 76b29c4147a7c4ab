"""The classification extension: an output as its largest classes, each a text.

    [batch, time, classes] ─→ [batch, time, n] of "value:index:label", the largest value first

It knows arrays and labels; it knows no request.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.codec.sizes import json_bytes
from service.errors import InvalidField
from service.manifest import OutputSpec
from service.sequence import Array

_INDEX = 12  # characters of an index and its separators


def check(spec: OutputSpec) -> None:
    """Raises InvalidField if an output has no axis of classes, or several."""
    if len(spec.dims) != 1:
        raise InvalidField(f"output {spec.name!r} has no classes: classification needs one axis beside time")


def classify(y: Array, largest: int, labels: Sequence[str]) -> Any:
    """[batch, time, min(largest, classes)] of str: "value:index:label", or "value:index" without labels.

    Of equal values the lower index is first; NaN is last. A value has every digit of its dtype.
    """
    order = np.argsort(-y.astype(np.float64), axis=-1, kind="stable")[..., :largest]
    values = np.take_along_axis(y, order, axis=-1)
    texts = [
        f"{value!s}:{index}:{labels[int(index)]}" if labels else f"{value!s}:{index}"
        for value, index in zip(values.flat, order.flat, strict=True)
    ]
    return np.array(texts, object).reshape(order.shape)


def classes_bytes(spec: OutputSpec, dtype: str, steps: int, largest: int) -> int:
    """At most: of an output's classes in a reply."""
    return steps * min(largest, spec.dims[0]) * (json_bytes(dtype, 1) + _INDEX + spec.longest_label)
