"""What a user has → what `/predict` takes: arrays, lists, rows of data frames, texts, tokens, named inputs.

pandas, polars and PyTorch are not imported: their objects are recognised by `to_numpy` and `__array__`.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellgate.models import Input, Model


@runtime_checkable
class Tabular(Protocol):
    """A data frame or a column of pandas or polars."""

    def to_numpy(self) -> NDArray[Any]:
        """Its values."""


Values = ArrayLike | Tabular | None
Records = Sequence[Mapping[str, Any]]
"""For a model of a table: one step each, its values by the names of the columns."""

Steps = Values | Mapping[str, Values] | Records
"""[time, *dims] as an array or nested lists, a text, tokens, these by the name of the input, or records."""


GivenState = str | Mapping[str, str]
"""The token of a state, or `{"name": "warm"}`, a named initial state of the model."""


def encode(steps: Steps, model: Model, *, may_be_one: bool = False) -> Any:
    """The value of `steps` in a request: JSON, and in it NaN as null.

    `may_be_one`: a value of the shape of one time step is that step. Raises ValueError for an infinity.
    """
    if isinstance(steps, Mapping):
        specs = {spec.name: spec for spec in model.inputs}
        return {name: _encode(value, specs.get(name), may_be_one) for name, value in steps.items()}
    return _encode(steps, model.step_input, may_be_one)


def _encode(value: Values | Records, spec: Input | None, may_be_one: bool) -> Any:
    plain = value if isinstance(value, str) else to_plain(value)
    is_step = spec is not None and spec.per == "step" and not isinstance(plain, str)
    are_records = isinstance(plain, list) and any(isinstance(item, dict) for item in plain)
    if may_be_one and is_step and not are_records and spec is not None and _depth(plain) == len(spec.dims):
        return [plain]
    return plain


def to_plain(value: Any) -> Any:
    """Nested lists of Python numbers, booleans, texts and None; records with these; times as ISO 8601.

    Raises ValueError for an infinity.
    """
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError("an infinity is not a value of a time step")
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):  # a record of a table
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, datetime | date):
        return value.isoformat()
    array = to_array(value)
    if array.dtype.kind == "f":
        return _plain_floats(array)
    return array.tolist() if array.dtype.kind in "biu" else to_plain(array.tolist())


def to_array(value: Any) -> NDArray[Any]:
    """The array of a numpy, pandas, polars or PyTorch object, or of nested lists. Raises TypeError."""
    array = np.asarray(value.to_numpy() if isinstance(value, Tabular) else value)
    if array.dtype.kind in "cMmVS":
        raise TypeError(f"a time step cannot hold values of the dtype {array.dtype}")
    if array.dtype == object and array.ndim == 0:
        raise TypeError(f"expected an array, nested lists or a text, got {type(value).__name__}")
    return array


def _plain_floats(array: NDArray[Any]) -> Any:
    if np.isfinite(array).all():
        return array.tolist()
    if np.isinf(array).any():
        raise ValueError("an infinity is not a value of a time step")
    values = array.astype(object)
    values[np.isnan(array)] = None
    return values.tolist()


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth
