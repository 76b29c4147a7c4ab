"""CSV and Parquet, by polars: a row for each time step, and a column that tells the sequences apart.

    call,x,y        rows of one sequence stand together, in the order of their time
    a,0.1,2
    a,0.3,4
    b,0.2,1

It knows columns and rows; it knows nothing of processes or models beyond their manifest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from service.codec import arrays
from service.codec.request import Item
from service.errors import CellgateError, StartupError
from service.manifest import InputSpec, Manifest
from service.offline.block import MAX_SEQUENCES, MAX_STEPS, Keys, Read, strip_pointer
from service.offline.order import SeenKeys
from service.sequence import Array

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"]  # texts of a CSV file that stand for no value
ROWS = 1 << 15  # read at a time
MAX_ROWS = 1 << 22  # of one sequence


def columns_of(spec: InputSpec) -> tuple[str, ...]:
    """The columns that an input is read from. Raises StartupError if they have no names."""
    if not spec.dims:
        return (spec.name,)
    if not spec.features:
        raise StartupError(
            f"the model names no features of its input {spec.name!r}, so the columns of a table cannot be "
            "told apart; give the sequences as NDJSON"
        )
    return spec.features


def is_number(spec: InputSpec) -> bool:
    """Whether an input is floating-point numbers: such columns are read as arrays."""
    return spec.kind == "numeric" and spec.dtype.startswith("float")


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
        at_once = _plain_items(self, manifest, max_steps)
        if at_once is not None:
            return Read(self._keys(), list(at_once))
        columns = [(spec.name, _values(self.frame, spec)) for spec in manifest.step_inputs]
        items: list[Item | CellgateError] = []
        for start, end in self._spans():
            given = {name: values[start:end] for name, values in columns}
            items.append(_decode(given, manifest, max_steps))
        return Read(self._keys(), items)

    def to_json(self, manifest: Manifest, *, max_steps: int) -> Read[bytes]:
        """Each sequence as JSON of its arrays."""
        names = [spec.name for spec in manifest.step_inputs]
        bodies: list[bytes | CellgateError] = []
        keys, items = self.decode(manifest, max_steps=max_steps)
        for item in items:
            if isinstance(item, CellgateError):
                bodies.append(item)
                continue
            inputs = [np.ascontiguousarray(array) for array in item.inputs]
            steps = dict(zip(names, inputs, strict=True)) if len(names) > 1 else inputs[0]
            bodies.append(orjson.dumps({"steps": steps}, option=orjson.OPT_SERIALIZE_NUMPY))
        return Read(keys, bodies)

    def _spans(self) -> list[tuple[int, int]]:
        ends = self.ends.tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def _keys(self) -> Keys:
        if self.key is None:
            return Keys("id", [None] * len(self))
        return Keys(self.key, self.frame[self.key].gather(self.ends - 1).to_list(), is_typed=True)


def _plain_items(block: TableBlock, manifest: Manifest, max_steps: int) -> list[Item] | None:
    """All sequences at once, if nothing in the block needs a look of its own: the usual case."""
    (spec, *others) = manifest.step_inputs
    if others or not is_number(spec) or manifest.axes.time_size is not None:
        return None
    lengths = np.diff(block.ends, prepend=0)
    numbers = _values(block.frame, spec)
    if lengths.max() > max_steps or isinstance(numbers, list):
        return None
    with np.errstate(over="ignore"):
        numbers = numbers.astype(spec.dtype)
    is_plain = ~np.isinf(numbers) if spec.missing == "nan" else np.isfinite(numbers)
    if not is_plain.all():
        return None
    kept = (None,) * len(manifest.sequence_inputs)
    return [Item((numbers[start:end],), kept=kept) for start, end in block._spans()]


def _decode(given: dict[str, Any], manifest: Manifest, max_steps: int) -> Item | CellgateError:
    try:
        steps = given if len(given) > 1 else next(iter(given.values()))
        inputs, kept = arrays.decode_inputs(steps, manifest, "/steps", max_steps)
        arrays.check_window(len(inputs[0]), manifest, "/steps")
        return Item(inputs, kept=kept)
    except CellgateError as error:
        return strip_pointer(error, "")


def _values(frame: pl.DataFrame, spec: InputSpec) -> Any:
    """An input's values of all rows: an array in which NaN is a null, or lists as JSON has them."""
    names = columns_of(spec)
    if is_number(spec):
        numbers = [_parsed(frame[name], pl.Float64) for name in names]
        if all(column.dtype == pl.Float64 for column in numbers):
            array = pl.DataFrame(numbers).to_numpy()
            return array if spec.dims else array[:, 0]
    rows = [_listed(frame[name], spec) for name in names]
    return [list(row) for row in zip(*rows, strict=True)] if spec.dims else rows[0]


def _parsed(column: pl.Series, dtype: Any) -> pl.Series:
    """Numbers, or texts that are some, as numbers; any other column as it is."""
    if column.dtype == pl.String:
        numbers = column.str.strip_chars().cast(dtype, strict=False)
        return numbers if numbers.null_count() == column.null_count() else column
    return column.cast(dtype) if column.dtype.is_numeric() else column


def _listed(column: pl.Series, spec: InputSpec) -> list[Any]:
    """The values as JSON has them. A text that is a number is one, where the input has no texts."""
    if column.dtype == pl.String and not spec.vocabulary:
        numbers = column.str.strip_chars().cast(pl.Int64 if spec.takes_integers else pl.Float64, strict=False)
        return [text if number is None else number for text, number in zip(column, numbers, strict=True)]
    return [None if value != value else value for value in column.to_list()]


def blocks(path: Path, manifest: Manifest, key: str | None) -> Iterator[TableBlock]:
    """The sequences of a CSV or Parquet file in order. `key`: the column that tells them apart.

    Raises StartupError for a file that cannot be read, or whose sequences do not stand together.
    """
    names = [name for spec in manifest.step_inputs for name in columns_of(spec)]
    rest: pl.DataFrame | None = None
    seen = SeenKeys(key or "")
    total, position = max(num_rows(path), 1), 0
    for frame in _frames(path, names if key is None else [key, *names]):
        position += len(frame)
        rest = frame if rest is None else pl.concat([rest, frame])
        ends = _ends(rest, key)
        if len(ends) < 2:
            _check_length(rest)
            continue
        yield from _cut(rest[: int(ends[-2])], ends[:-1], key, seen, min(1.0, position / total))
        rest = rest[int(ends[-2]) :]
    if rest is None or not len(rest):
        raise StartupError(f"{path} has no rows")
    yield from _cut(rest, _ends(rest, key), key, seen, 1.0)


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


def _frames(path: Path, names: list[str]) -> Iterator[pl.DataFrame]:
    """The columns of a file, some rows at a time. Raises StartupError."""
    if is_parquet(path):
        scan = pl.scan_parquet(path)
    else:
        scan = pl.scan_csv(path, infer_schema=False, null_values=MISSING)
    try:
        found = scan.collect_schema().names()
        _check_names(path, found, names)
        frame = scan.select(list(dict.fromkeys(names)))
        yield from frame.collect_batches(chunk_size=ROWS, maintain_order=True)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise StartupError(f"{path}: {str(error).splitlines()[0]}") from error


def _check_names(path: Path, found: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        listed = ", ".join(map(repr, missing))
        raise StartupError(f"{path} has no column {listed}; its columns are {', '.join(map(repr, found))}")
