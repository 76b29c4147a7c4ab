"""Numbers and booleans in the place of a category's name: 2 for the category that the table writes "2".

Only for inputs whose manifest says `"numbers": "tokens"`. For all others a number is the id of a token.
"""

from typing import Any

import numpy as np

from service.codec.fields import kind
from service.errors import InvalidField
from service.manifest import InputSpec, written_forms
from service.sequence import Array


def with_names(rows: list[Any] | Array, spec: InputSpec, pointer: str) -> list[Any]:
    """The steps of a request, with the name of the category in the place of each number and boolean.

    Raises InvalidField for a number that no category is written as, and for a list or an object.
    """
    steps = rows.tolist() if isinstance(rows, np.ndarray) else rows
    return [
        step if step is None or isinstance(step, str) else _name(step, spec, f"{pointer}/{index}")
        for index, step in enumerate(steps)
    ]


def ids_of(numbers: Array, spec: InputSpec, pointer: str) -> Array:
    """The token ids of an array of integers, of any shape; as they are, where a number is an id.

    Raises InvalidField at the first number that no category is written as.
    """
    if spec.numbers == "ids" or spec.kind != "token":
        return numbers
    different, places = np.unique(numbers, return_inverse=True)
    forms = [_forms(int(number), spec) for number in different]
    ids = np.array([spec.ids[form[0]] if len(form) == 1 else -1 for form in forms], np.int64)
    found: Array = ids[places.reshape(numbers.shape)]
    if (found < 0).any():
        index = tuple(np.argwhere(found < 0)[0])
        raise _unknown(int(numbers[index]), spec, "/".join((pointer, *map(str, index))))
    return found


def _name(step: Any, spec: InputSpec, pointer: str) -> str:
    if type(step) not in (int, float, bool):
        raise InvalidField(f"expected a category, got {kind(step)}", pointer=pointer)
    forms = _forms(step, spec)
    if len(forms) != 1:
        raise _unknown(step, spec, pointer)
    return forms[0]


def _forms(value: bool | float, spec: InputSpec) -> list[str]:
    return [form for form in written_forms(value) if form in spec.ids]


def _unknown(value: bool | float, spec: InputSpec, pointer: str) -> InvalidField:
    form, *_ = written_forms(value)
    forms = _forms(value, spec)
    if forms:
        return InvalidField(
            f"{form} may be {' or '.join(map(repr, forms))}: send the category as a text", pointer=pointer
        )
    other = "" if spec.unknown is None else f'; the text "{form}" is {spec.vocabulary[spec.unknown]}'
    return InvalidField(f"no category of {spec.name!r} is written {form}{other}", pointer=pointer)
