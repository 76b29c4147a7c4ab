"""Decides from the target columns what is predicted, and computes it. Knows nothing of inputs or networks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.config import Table
from training.data.columns import Column
from training.data.dataset import Task
from training.data.file import TableError
from training.data.label_doubts import are_flags
from training.data.labels import Labels, labels_of
from training.data.rows import Rows, check_labels, classes, future_values, task_of
from training.data.splits import PARTS, Parts, Target

MOST_CODES = 10  # different whole numbers that may be classes


class Targets(NamedTuple):
    """The target columns of a table, and the task."""

    columns: list[Column]
    task: Task
    is_whole: bool  # whether a sequence has one target as a whole
    codes: NDArray[np.int64] | None  # the class of each row; None: numbers or labels
    several: Labels | None = None  # the labels of each row, of the task multilabel

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, the labels, or the names of the numbers."""
        if self.several is not None:
            return self.several.names
        if self.codes is not None:
            return self.columns[0].categories
        return tuple(column.name for column in self.columns)

    @property
    def are_inputs(self) -> bool:
        """Whether their values up to a step are known at that step, as a forecast needs."""
        return self.task == "forecast"

    @property
    def for_split(self) -> Target:
        """What the split of the rows depends on."""
        return Target(self.is_whole, self.labels if self.task == "classify" else (), self.codes)


def targets_of(table: Table, columns: Mapping[str, Column], own: Rows, rows: Rows) -> Targets:
    """The targets of a table. `own` are the rows of the table, among `rows`, which a second file may follow.

    Raises TableError for targets that do not fit the task.
    """
    targets = [columns[name] for name in table.targets]
    task: Task = table.task or task_of(targets, own)
    if table.task is None and task == "forecast" and are_whole(targets, own):
        _refuse_codes(targets)
        task = "regress"
    if task == "multilabel":
        several = labels_of(targets, table, own, rows)
        return Targets(targets, task, several.is_whole, None, several)
    _check(task, targets)
    if table.quantiles and task not in ("forecast", "regress"):
        raise TableError(f"--quantile is for numbers to forecast or regress; the task is {task}")
    codes = classes(task, targets[0], rows) if task in ("classify", "label") else None
    is_whole = task == "classify" or (task == "regress" and are_whole(targets, rows))
    return Targets(targets, task, is_whole, codes)


def truth_of(targets: Targets, table: Table, rows: Rows, parts: Parts) -> NDArray[Any]:
    """The target of each row: [rows] classes, or [rows, numbers]; labels are numbers.

    Raises TableError if a part has none.
    """
    if targets.codes is not None:
        check_labels(targets.columns[0], targets.codes, parts)
        return targets.codes
    if targets.several is not None:
        _check_labels(targets.several.values, parts)
        return targets.several.values
    if targets.task == "forecast":
        return future_values(targets.columns, rows, parts, table.horizons)
    values = numbers(targets.columns, rows, is_whole=targets.is_whole)
    _check_numbers(targets.columns, values, parts)
    return values


def _check_labels(values: NDArray[np.float32], parts: Parts) -> None:
    """Raise TableError if a part knows no label of any row."""
    for part, name in zip(parts, PARTS, strict=True):
        if part and all(np.isnan(values[one]).all() for one in part):
            raise TableError(f"the {name} part has no row with a known label")


def _refuse_codes(targets: list[Column]) -> None:
    """Raise TableError for numbers of whole sequences that may be classes: too few to guess."""
    if are_flags(targets):
        names = ", ".join(target.name for target in targets)
        raise TableError(
            f"columns {names} never change within a sequence, and are 0 or 1: --task multilabel predicts "
            "them as labels, --task regress as numbers"
        )
    for target in targets:
        values = target.values.drop_nulls().unique()
        if len(values) <= MOST_CODES and (values == values.round()).all():
            raise TableError(
                f"column {target.name!r} never changes within a sequence, and is one of {len(values)} whole "
                "numbers: --task classify predicts it as a class, --task regress as a number"
            )


def _check(task: str, targets: list[Column]) -> None:
    texts = [target.name for target in targets if target.kind == "category"]
    are_numbers = task in ("forecast", "regress")
    if are_numbers and texts:
        what = "a forecast" if task == "forecast" else "a regression"
        raise TableError(
            f"column {texts[0]!r} has texts, but {what} needs numbers; "
            "--task classify or label predicts a class"
        )
    if not are_numbers and len(targets) > 1:
        names = ", ".join(target.name for target in targets)
        raise TableError(
            "several targets are possible for numbers, to forecast or to regress, and for columns of 0 and 1 "
            f"with --task multilabel: {names}"
        )
    for target in targets:
        if target.is_empty:
            raise TableError(f"column {target.name!r} is empty: there is nothing to predict")


def are_whole(targets: list[Column], rows: Rows) -> bool:
    """Whether each target has one value in every sequence, of which there are several; it may have gaps."""
    if len(rows.sequences) < 2:
        return False
    values = [rows.sorted(target) for target in targets]
    return all(len(np.unique(_known(one[part]))) < 2 for one in values for part in rows.sequences)


def numbers(targets: list[Column], rows: Rows, *, is_whole: bool) -> NDArray[np.float32]:
    """[rows, targets]: the values; each row of a whole sequence has its value. NaN: unknown."""
    values = np.stack([rows.sorted(target) for target in targets], axis=1).astype(np.float32)
    for one in rows.sequences if is_whole else ():
        for column in values[one].T:  # a view
            known = _known(column)
            column[:] = known[0] if len(known) else np.nan
    return values


def _check_numbers(targets: list[Column], values: NDArray[np.float32], parts: Parts) -> None:
    """Raise TableError for a target that a part does not know, or that does not vary in the training part."""
    for column, target in enumerate(targets):
        for part, name in zip(parts, PARTS, strict=True):
            known = _known(np.concatenate([values[one, column] for one in part]))
            if not len(known):
                raise TableError(f"column {target.name!r}: the {name} part has no values")
            if name == "training" and (known == known[0]).all():
                raise TableError(
                    f"column {target.name!r} is {known[0]:g} in every row of the training part: there is "
                    "nothing to predict"
                )


def _known(values: NDArray[Any]) -> NDArray[Any]:
    known: NDArray[Any] = values[~np.isnan(values)]
    return known
