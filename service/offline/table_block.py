"""A block of a table: the rows of consecutive sequences, read a column at a time where they allow it.

It knows columns and rows; it knows nothing of files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from service.codec.arrays import check_num_steps, check_window
from service.codec.records import decode_steps
from service.codec.request import Item
from service.engine.flat import Flat
from service.errors import CellgateError, InvalidField
from service.manifest import InputSpec, Manifest
from service.offline.block import Keys, Plain, Read
from service.offline.columns import array_of, records_of, values_of, without_targets
from service.offline.described import arrays_of
from service.offline.flat_block import flat_input
from service.sequence import Array


@dataclass(slots=True)
class TableBlock:
    """Consecutive sequences of a table, with all their rows."""

    frame: pl.DataFrame
    ends: Array  # the row behind each sequence
    key: str | None  # the column of keys; None: the whole table is one sequence
    progress: float

    def __len__(self) -> int:
        """Sequences."""
        return len(self.ends)

    def after(self, skipped: int) -> "TableBlock":
        """The same without its first sequences."""
        first = int(self.ends[skipped - 1]) if skipped else 0
        return TableBlock(self.frame[first:], self.ends[skipped:] - first, self.key, self.progress)

    def only(self, chosen: Array) -> "TableBlock":
        """The same with some of its sequences, [sequences] bool."""
        lengths = np.diff(self.ends, prepend=0)
        frame = self.frame.filter(pl.Series(np.repeat(chosen, lengths)))
        return TableBlock(frame, np.cumsum(lengths[chosen]), self.key, self.progress)

    def to_flat(self, manifest: Manifest) -> Plain | None:
        """From whole columns."""
        starts = np.concatenate(([0], self.ends[:-1]))
        if manifest.sequence_inputs:
            return None
        if manifest.table is not None:
            inputs, _, _, is_plain = arrays_of(self.frame, self.ends, manifest)
            return Plain(self.keys, Flat(inputs, starts, self.ends), is_plain)
        spec = flat_input(manifest)
        if spec is None:
            return None
        numbers = array_of(self.frame, spec)
        is_plain = np.logical_and.reduceat(_are_plain(numbers, spec), starts)
        return Plain(self.keys, Flat((numbers,), starts, self.ends), is_plain)

    def decode(self, manifest: Manifest, *, max_steps: int) -> Read[Item]:
        """Each sequence as arrays."""
        if manifest.table is not None:
            return Read(self.keys, self._decode_described(manifest, max_steps))
        return Read(self.keys, [_decode(steps, manifest, max_steps) for steps in self._steps(manifest)])

    def to_json(self, manifest: Manifest, *, max_steps: int) -> Read[bytes]:  # noqa: ARG002
        """Each sequence as JSON. The server checks it."""
        return Read(self.keys, [_to_json(steps) for steps in self._steps(manifest)])

    def _decode_described(self, manifest: Manifest, max_steps: int) -> list[Item | CellgateError]:
        """From whole columns, but for sequences in which a value is unusual."""
        inputs, static, seconds, is_usual = arrays_of(self.frame, self.ends, manifest)
        arrays = inputs if seconds is None else (*inputs, seconds)
        items: list[Item | CellgateError] = []
        for place, ((start, end), usual) in enumerate(zip(self._spans(), is_usual.tolist(), strict=True)):
            if usual:
                kept = tuple([values[place] for values in static])
                item = Item(tuple([array[start:end] for array in arrays]), kept=kept)
                items.append(_fault(end - start, manifest, max_steps) or item)
            else:
                records = without_targets(records_of(self.frame[start:end], manifest), manifest)
                items.append(_decode(records, manifest, max_steps))
        return items

    def _steps(self, manifest: Manifest) -> Iterator[Any]:
        """The steps of each sequence as `/predict` takes them; numbers as arrays."""
        if manifest.table is not None:
            records = records_of(self.frame, manifest)
            yield from (without_targets(records[start:end], manifest) for start, end in self._spans())
            return
        columns = {spec.name: values_of(self.frame, spec) for spec in manifest.step_inputs}
        for start, end in self._spans():
            steps = {name: values[start:end] for name, values in columns.items()}
            yield steps if len(steps) > 1 else next(iter(steps.values()))

    def _spans(self) -> list[tuple[int, int]]:
        ends = self.ends.tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))

    @property
    def keys(self) -> Keys:
        """The key of each sequence."""
        if self.key is None:
            return Keys("id", [None] * len(self))
        return Keys(self.key, self.frame[self.key].gather(self.ends - 1).to_list(), is_typed=True)


def _are_plain(numbers: Array, spec: InputSpec) -> Array:
    """Of which rows, [rows, *dims], every number is one that the input takes."""
    are_plain = ~np.isinf(numbers) if spec.missing == "nan" else np.isfinite(numbers)
    if are_plain.all():
        return np.ones(len(numbers), np.bool_)
    rows: Array = np.logical_and.reduce(are_plain.reshape(len(numbers), -1), axis=1)
    return rows


def _decode(steps: Any, manifest: Manifest, max_steps: int) -> Item | CellgateError:
    try:
        inputs, kept, times = decode_steps(steps, manifest, "/steps", max_steps)
        check_window(len(inputs[0]), manifest, "/steps")
        return Item(inputs, kept=kept, times=times)
    except CellgateError as error:
        return error


def _fault(steps: int, manifest: Manifest, max_steps: int) -> CellgateError | None:
    try:
        check_num_steps(steps, max_steps, "/steps")
        check_window(steps, manifest, "/steps")
    except CellgateError as error:
        return error
    return None


def _to_json(steps: Any) -> bytes | CellgateError:
    if isinstance(steps, dict):
        steps = {name: _contiguous(values) for name, values in steps.items()}
    try:
        return orjson.dumps({"steps": _contiguous(steps)}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:  # such as bytes or a list in a column
        return InvalidField(f"a value is no number, text or boolean: {error}", pointer="/steps")


def _contiguous(values: Any) -> Any:
    return np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
