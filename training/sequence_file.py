"""Reads a sequence out of a file, in any form that `/predict` takes. Knows no code of the service."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import tokens
from training.data.dataset import Input, Sequence
from training.errors import TrainingError

Columns = NDArray[np.float32]


class PostedError(TrainingError):
    """The file holds no sequence for these inputs."""


def read(path: Path, inputs: tuple[Input, ...]) -> Sequence:
    """The sequence of a file, [time, columns]: a body of `/predict`, of which it is the first, or one of it.

    That is rows, tokens, a text, an object of these by input name, or one under "steps" or "text". Raises
    PostedError.
    """
    try:
        told = json.loads(path.read_bytes())
        is_body = isinstance(told, dict) and isinstance(told.get("sequences"), list) and told["sequences"]
        steps = _steps(told["sequences"][0] if is_body else told, {given.name for given in inputs})
        named = steps if isinstance(steps, dict) else {inputs[0].name: steps}
        if set(named) != {given.name for given in inputs}:
            names = sorted(given.name for given in inputs)
            raise ValueError(f"expected the inputs {names}, got {sorted(named)}")
        columns = [_columns(given, named[given.name]) for given in inputs]
        if len({len(part) for part in columns}) > 1:
            told_of = ", ".join(
                f"{given.name} {len(part)}" for given, part in zip(inputs, columns, strict=True)
            )
            raise ValueError(f"the inputs have unequal numbers of steps: {told_of}")
    except (OSError, ValueError) as error:
        raise PostedError(f"{path}: {error}") from error
    sequence = np.hstack(columns)
    return _trimmed(sequence) if is_body and told.get("trim_padding") is True else sequence


def _steps(told: Any, names: set[str]) -> Any:
    """What a sequence holds, without its session: an object of exactly the inputs is one already."""
    if isinstance(told, dict) and set(told) != names:
        for field in ("steps", "text"):
            if field in told:
                return told[field]
    return told


def _trimmed(sequence: Sequence) -> Sequence:
    """Without the steps at the end that are all zero."""
    says = np.flatnonzero(sequence.any(axis=1))
    return sequence[: says[-1] + 1] if len(says) else sequence


def _columns(given: Input, rows: Any) -> Columns:
    """[time, columns] of one input. Raises ValueError that says where."""
    if given.kind == "token":
        found = _ids(given, rows)
    else:
        dims = given.frame if given.kind == "video" else (given.columns,)
        steps = _list(rows, f"{given.name}: expected a list of rows")
        read = [
            _numbers(row, dims, f"{given.name}, step {at}", given.has_gaps) for at, row in enumerate(steps)
        ]
        found = np.array(read, np.float32).reshape(len(read), given.columns)
    if not len(found):
        raise ValueError(f"{given.name}: a sequence needs at least one step")
    return found


def _ids(given: Input, rows: Any) -> Columns:
    if isinstance(rows, str):
        if given.tokenizer is None:
            raise ValueError(f"{given.name} takes no text, it has no tokenizer")
        try:
            return tokens.read(given, rows)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"{given.name}: the tokenizer cannot read it: {error}") from error
    known = {token: number for number, token in enumerate(given.vocabulary)}
    ids = []
    for step, row in enumerate(_list(rows, f"{given.name}: expected a list of tokens")):
        number = (
            known.get(row, given.unknown) if isinstance(row, str) else given.missing if row is None else row
        )
        if type(number) is not int or not 0 <= number < len(known):  # True is an int, too
            raise ValueError(f"{given.name}, step {step}: {row!r} is no token of {len(known)}")
        ids.append(number)
    return np.array(ids, np.float32)[:, None]


def _numbers(value: Any, dims: tuple[int, ...], where: str, has_gaps: bool) -> Any:
    """A number, or lists of them as deep as `dims`; null is NaN. numpy would take "1" and true for 1."""
    if dims:
        row = _list(value, f"{where}: expected {dims[0]} {'rows' if dims[1:] else 'numbers'}")
        if len(row) != dims[0]:
            raise ValueError(
                f"{where}: expected {dims[0]} {'rows' if dims[1:] else 'numbers'}, got {len(row)}"
            )
        return [_numbers(one, dims[1:], f"{where}, place {at}", has_gaps) for at, one in enumerate(row)]
    if value is None:
        if has_gaps:
            return math.nan
        raise ValueError(f"{where}: null, where no number may be missing")
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{where}: expected a number, got {value!r}")
    return value


def _list(value: Any, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{expected}, got {type(value).__name__}")
    return value
