"""Many short sequences that lie in one array, run from their start with no object for each of them.

    inputs   a a a b b c c c c   [rows, *dims]    calls, by length:   b b .      y ─→ the last step of each,
    starts   0     3   5                                              a a a           or all of its steps
    ends           3   5       9

For files, where the time of a small graph is less than that of making the objects. What is not plain is left
to the scheduler: long sequences, answers that are not finite, and graphs that keep anything of an input.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from service.engine.onnx import OnnxEngine
from service.sequence import Array

MAX_STEPS = 256  # of a sequence


class Flat(NamedTuple):
    """Sequences, whose rows stand together."""

    inputs: tuple[Array, ...]  # one per input of the model, each [rows, *dims] in its dtype
    starts: Array  # int64: the first row of each sequence
    ends: Array  # int64: the row behind each sequence

    @property
    def lengths(self) -> Array:
        """The steps of each sequence."""
        return self.ends - self.starts


def run_flat(engine: OnnxEngine, flat: Flat, *, max_batch: int, keep_all: bool) -> Array | list[Array] | None:
    """The first output: [sequences, *dims] at the last steps, or with `keep_all` [time, *dims] of each.

    Sequences of about one length share a call. None: not all of them can be run in this way, or have an
    answer.
    """
    inputs, starts, ends = flat
    lengths = flat.lengths
    if not engine.runs_rows or lengths.max() > MAX_STEPS:
        return None
    answers: Array | None = None
    for places in _calls(lengths, max_batch):
        own = lengths[places]
        steps = np.arange(own[-1])
        rows = starts[places, None] + steps  # [batch, time]
        is_true = None if own[0] == own[-1] else steps < own[:, None]
        arrays = [
            array.take(rows, axis=0, mode="clip") for array in inputs
        ]  # clips rows behind a shorter one
        if is_true is not None:
            for array in arrays:
                array[~is_true] = 0
        y = engine.run_rows(arrays, own)
        if y is None:
            return None
        if answers is None:
            shape = (len(inputs[0]) if keep_all else len(lengths), *y.shape[2:])
            answers = np.empty(shape, y.dtype)
        if not keep_all:
            answers[places] = y[np.arange(len(own)), own - 1] if y.shape[1] > 1 else y[:, 0]
        elif is_true is None:
            answers[rows] = y
        else:
            answers[rows[is_true]] = y[is_true]
    if not keep_all or answers is None:
        return answers
    return [answers[start:end] for start, end in zip(starts, ends, strict=True)]


def _calls(lengths: Array, max_batch: int) -> Iterator[Array]:
    """The places of the sequences of each call, the shortest first.

    A call ends where a length ends, if it is at least half full then: equal lengths need no padding.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    first = 0
    while first < len(order):
        last = min(first + max_batch, len(order))
        edge = int(np.searchsorted(ordered, ordered[last - 1]))  # where the length of its last one begins
        if edge > first and edge - first >= max_batch // 2:
            last = edge
        yield order[first:last]
        first = last
