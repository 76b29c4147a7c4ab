"""CSV and Parquet, by polars: a row for each time step, and a column that tells the sequences apart.

    call,x,y        rows of one sequence stand together, in the order of their time
    a,0.1,2
    a,0.3,4
    b,0.2,1

It knows columns and rows; it knows nothing of processes or models beyond their manifest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from service.codec.arrays import check_window
from service.codec.records import decode_steps
from service.codec.request import Item
from service.engine.flat import Flat
from service.errors import CellgateError, InvalidField, StartupError
from service.manifest import Manifest
from service.offline.block import MAX_SEQUENCES, MAX_STEPS, Keys, Read
from service.offline.columns import (
    array_of,
    is_number,
    names_in,
    numbers_of,
    records_of,
    texts_of_null,
    values_of,
)
from service.offline.flat_block import FlatBlock
from service.offline.order import SeenKeys
from service.sequence import Array

ROWS = 1 << 15  # read at a time
MAX_ROWS = 1 << 22  # of one sequence


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

    def decode(self, manifest: Manifest, *, max_steps: int) -> Read[Item]:
        """Each sequence as arrays."""
        return Read(self.keys, [_decode(steps, manifest, max_steps) for steps in self._steps(manifest)])

    def to_json(self, manifest: Manifest, *, max_steps: int) -> Read[bytes]:  # noqa: ARG002
        """Each sequence as JSON. The server checks it."""
        return Read(self.keys, [_to_json(steps) for steps in self._steps(manifest)])

    def _steps(self, manifest: Manifest) -> Iterator[Any]:
        """The steps of each sequence as `/predict` takes them; numbers as arrays."""
        if manifest.table is not None:
            records = records_of(self.frame, manifest)
            yield from (records[start:end] for start, end in self._spans())
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


def _decode(steps: Any, manifest: Manifest, max_steps: int) -> Item | CellgateError:
    try:
        inputs, kept, times = decode_steps(steps, manifest, "/steps", max_steps)
        check_window(len(inputs[0]), manifest, "/steps")
        return Item(inputs, kept=kept, times=times)
    except CellgateError as error:
        return error


def _to_json(steps: Any) -> bytes | CellgateError:
    if isinstance(steps, dict):
        steps = {name: _contiguous(values) for name, values in steps.items()}
    try:
        return orjson.dumps({"steps": _contiguous(steps)}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:  # such as bytes or a list in a column
        return InvalidField(f"a value is no number, text or boolean: {error}", pointer="/steps")


def _contiguous(values: Any) -> Any:
    return np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values


def blocks(path: Path, manifest: Manifest, key: str | None) -> Iterator[TableBlock | FlatBlock]:
    """The sequences of a CSV or Parquet file in order. `key`: the column that tells them apart.

    Raises StartupError for a file that cannot be read, or whose sequences do not stand together.
    """
    num_done = 0
    try:
        for block in _blocks(path, manifest, key, are_numbers=not is_parquet(path)):
            num_done += len(block)
            yield block
    except pl.exceptions.ComputeError:
        # A text where a number is expected is the error of its sequence: read all columns as texts.
        for block in _blocks(path, manifest, key, are_numbers=False):
            skipped, num_done = min(len(block), num_done), max(0, num_done - len(block))
            if skipped < len(block):
                yield block.after(skipped)


def _blocks(
    path: Path, manifest: Manifest, key: str | None, *, are_numbers: bool
) -> Iterator[TableBlock | FlatBlock]:
    rest: pl.DataFrame | None = None
    seen = SeenKeys(key or "")
    total, position = max(num_rows(path), 1), 0
    for frame in _frames(path, manifest, key, are_numbers=are_numbers):
        position += len(frame)
        rest = frame if rest is None else pl.concat([rest, frame])
        ends = _ends(rest, key)
        if len(ends) < 2:
            _check_length(rest)
            continue
        for block in _cut(rest[: int(ends[-2])], ends[:-1], key, seen, min(1.0, position / total)):
            yield _flat(block, manifest) or block
        rest = rest[int(ends[-2]) :]
    if rest is None or not len(rest):
        raise StartupError(f"{path} has no rows")
    for block in _cut(rest, _ends(rest, key), key, seen, 1.0):
        yield _flat(block, manifest) or block


def _flat(block: TableBlock, manifest: Manifest) -> FlatBlock | None:
    """The block as one array, if it is one and nothing in it is at fault: the usual case."""
    (spec, *others) = manifest.inputs
    if manifest.table is not None or others or not is_number(spec):
        return None
    numbers = array_of(block.frame, spec)
    if numbers is None:
        return None
    is_plain = ~np.isinf(numbers) if spec.missing == "nan" else np.isfinite(numbers)
    return FlatBlock(Flat(numbers, block.ends), block.keys, block.progress) if is_plain.all() else None


def _cut(
    frame: pl.DataFrame, ends: Array, key: str | None, seen: SeenKeys, progress: float
) -> Iterator[TableBlock]:
    """Blocks of at most MAX_SEQUENCES sequences and, of several, MAX_STEPS steps."""
    if key is not None:
        seen.add(frame[key].gather(ends - 1))
    first = start = 0
    while first < len(ends):
        fitting = int(np.searchsorted(ends, start + MAX_STEPS, side="right"))
        last = max(first + 1, min(fitting, first + MAX_SEQUENCES))
        stop = int(ends[last - 1])
        yield TableBlock(frame[start:stop], ends[first:last] - start, key, progress)
        first, start = last, stop


def _ends(frame: pl.DataFrame, key: str | None) -> Array:
    """The row behind each sequence."""
    if key is None:
        return np.array([len(frame)])
    keys = frame[key]
    if keys.has_nulls():
        raise StartupError(f"column {key!r}: a row has no value, so its sequence is unknown")
    changes = (keys != keys.shift(1)).arg_true().to_numpy()  # of the first row, whose shift is null, none
    return np.append(changes, len(frame)).astype(np.int64)


def _check_length(frame: pl.DataFrame) -> None:
    if len(frame) > MAX_ROWS:
        raise StartupError(f"a sequence has more than {MAX_ROWS} rows; --id names the column that ends it")


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def num_rows(path: Path) -> int:
    """The rows of a table; of a CSV file its lines."""
    if is_parquet(path):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    with path.open("rb") as file:
        return sum(iter(lambda: file.read(1 << 20).count(b"\n"), 0))


def _frames(path: Path, manifest: Manifest, key: str | None, *, are_numbers: bool) -> Iterator[pl.DataFrame]:
    """The columns of a file that a model is given, some rows at a time.

    `are_numbers`: CSV's columns of numbers are read as such, so a text in one raises ComputeError; otherwise
    all of its columns are texts. Raises StartupError.
    """
    numbers = numbers_of(manifest) if are_numbers else []
    try:
        if is_parquet(path):
            scan = pl.scan_parquet(path)
        else:
            types = {name: pl.Float64 for name in numbers if name != key}
            scan = pl.scan_csv(
                path, infer_schema=False, null_values=texts_of_null(manifest), schema_overrides=types
            )
        found = scan.collect_schema().names()
        names, missing = names_in(manifest, found)
        if key is not None:
            names, missing = [key, *names], missing + [key] * (key not in found)
        if missing:
            listed = ", ".join(map(repr, missing))
            has = ", ".join(map(repr, found))
            raise StartupError(f"{path} has no column {listed}; its columns are {has}")
        frame = scan.select(list(dict.fromkeys(names)))
        yield from frame.collect_batches(chunk_size=ROWS, maintain_order=True)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        if numbers and isinstance(error, pl.exceptions.ComputeError):
            raise
        raise StartupError(f"{path}: {str(error).splitlines()[0]}") from error
