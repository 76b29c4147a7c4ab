"""Reads a sequence from a JSON file in any form that `/predict` accepts. Knows no code of the service."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.manifest import written_forms
from training.data import tokens
from training.data.dataset import Input, Sequence
from training.errors import TrainingError

Columns = NDArray[np.float32]


class SequenceFileError(TrainingError):
    """The file holds no sequence for these inputs."""


def read(path: Path, inputs: tuple[Input, ...]) -> Sequence:
    """The sequence in a file, [time, columns]: one sequence, or the first of a `/predict` body.

    A sequence is rows, tokens, a text, an object of these by input name, or any of them under "steps" or
    "text". Raises SequenceFileError.
    """
    try:
        content = json.loads(path.read_bytes())
        is_body = isinstance(content, dict) and isinstance(content.get("sequences"), list)
        is_body = is_body and bool(content["sequences"])
        sequence = np.hstack(_all_columns(content["sequences"][0] if is_body else content, inputs))
    except (OSError, ValueError) as error:
        raise SequenceFileError(f"{path}: {error}") from error
    return _trimmed(sequence) if is_body and content.get("trim_padding") is True else sequence


def _all_columns(content: Any, inputs: tuple[Input, ...]) -> list[Columns]:
    """The columns of each input. Raises ValueError that names the input, and the step if there is one."""
    names = {input_.name for input_ in inputs}
    steps = _steps(content, names)
    by_name = steps if isinstance(steps, dict) else {inputs[0].name: steps}
    if set(by_name) != names:
        raise ValueError(f"expected the inputs {sorted(names)}, got {sorted(by_name)}")
    columns = [_columns(input_, by_name[input_.name]) for input_ in inputs]
    if len({len(part) for part in columns}) > 1:
        counts = ", ".join(f"{input_.name} {len(part)}" for input_, part in zip(inputs, columns, strict=True))
        raise ValueError(f"the inputs have unequal numbers of steps: {counts}")
    return columns


def _steps(content: Any, names: set[str]) -> Any:
    """The steps of a sequence without its session; an object of exactly the inputs is returned unchanged."""
    if isinstance(content, dict) and set(content) != names:
        for field in ("steps", "text"):
            if field in content:
                return content[field]
    return content


def _trimmed(sequence: Sequence) -> Sequence:
    """The sequence without the steps at its end that are all zero."""
    nonzero = np.flatnonzero(sequence.any(axis=1))
    return sequence[: nonzero[-1] + 1] if len(nonzero) else sequence


def _columns(input_: Input, rows: Any) -> Columns:
    """[time, columns] of one input. Raises ValueError."""
    columns = _ids(input_, rows) if input_.kind == "token" else _rows(input_, rows)
    if not len(columns):
        raise ValueError(f"{input_.name}: a sequence needs at least one step")
    return columns


def _rows(input_: Input, rows: Any) -> Columns:
    dims = input_.frame if input_.kind == "video" else (input_.columns,)
    numbers = [
        _numbers(row, dims, f"{input_.name}, step {step}", input_.has_gaps)
        for step, row in enumerate(_list(rows, f"{input_.name}: expected a list of rows"))
    ]
    return np.array(numbers, np.float32).reshape(len(numbers), input_.columns)


def _ids(input_: Input, rows: Any) -> Columns:
    if isinstance(rows, str):
        if input_.tokenizer is None:
            raise ValueError(f"{input_.name} accepts no text: it has no tokenizer")
        try:
            return tokens.read(input_, rows)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{input_.name}: the tokenizer cannot read the text: {error}") from error
    known = {token: number for number, token in enumerate(input_.vocabulary)}
    ids = []
    for step, row in enumerate(_list(rows, f"{input_.name}: expected a list of tokens")):
        number = row
        if row is None:
            number = input_.missing
        elif isinstance(row, str):
            number = known.get(row, input_.unknown)
        elif input_.numbers == "tokens":
            number = _id_of_number(row, known)
        if type(number) is not int or not 0 <= number < len(known):  # True is an int, too
            raise ValueError(f"{input_.name}, step {step}: {row!r} is not one of the {len(known)} tokens")
        ids.append(number)
    return np.array(ids, np.float32)[:, None]


def _id_of_number(value: Any, known: dict[str, int]) -> int | None:
    """The id of the only token that is written as this number or boolean; None if there is none."""
    forms = written_forms(value) if isinstance(value, bool | int | float) else ()
    ids = [known[form] for form in forms if form in known]
    return ids[0] if len(ids) == 1 else None


def _numbers(value: Any, dims: tuple[int, ...], where: str, has_gaps: bool) -> Any:
    """A number, or lists of them as deep as `dims`; null is NaN. numpy would accept "1" and true for 1."""
    if dims:
        expected = f"{where}: expected {dims[0]} {'rows' if dims[1:] else 'numbers'}"
        row = _list(value, expected)
        if len(row) != dims[0]:
            raise ValueError(f"{expected}, got {len(row)}")
        return [_numbers(one, dims[1:], f"{where}, place {at}", has_gaps) for at, one in enumerate(row)]
    if value is None:
        if has_gaps:
            return math.nan
        raise ValueError(f"{where}: null, but this input has no missing numbers")
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{where}: expected a number, got {value!r}")
    return value


def _list(value: Any, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{expected}, got {type(value).__name__}")
    return value
