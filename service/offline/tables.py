"""CSV and Parquet, by polars: a row for each time step, and a column that identifies the sequence.

    call,x,y        rows of one sequence stand together, in the order of their time
    a,0.1,2
    a,0.3,4
    b,0.2,1

It knows columns and rows; it knows nothing of processes or models beyond their manifest.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from service.errors import StartupError
from service.manifest import Manifest
from service.offline.block import MAX_SEQUENCES, MAX_VALUES
from service.offline.columns import as_plain, names_in, numbers_of, texts_of_null
from service.offline.flat_block import FlatBlock
from service.offline.order import SeenKeys
from service.offline.table_block import TableBlock
from service.sequence import Array

READ_VALUES = MAX_VALUES * 3 // 4  # at a time: a block, with room for the sequence that was cut
MAX_ROWS = 1 << 22  # of one sequence
FIRST_BYTES = 1 << 20  # of a CSV file, which tell how long its lines are

_EMPTY_LINE = re.compile(rb"\n[ \t]*\r?\n")

# How CSV's columns of numbers are read; the faster ones first, until what is in the columns allows one. What
# is then still no number is the error of its sequence.
Reading = Literal["numbers", "numbers or missing", "texts"]
_READINGS: tuple[Reading, ...] = ("numbers", "numbers or missing", "texts")

logger = logging.getLogger(__name__)


def blocks(path: Path, manifest: Manifest, key: str | None) -> Iterator[TableBlock | FlatBlock]:
    """The sequences of a CSV or Parquet file in order. `key`: the column that tells them apart.

    Raises StartupError for a file that cannot be read, or whose sequences do not stand together.
    """
    num_done = 0
    for reading in _readings(path, manifest):
        remaining = num_done
        try:
            for block in _blocks(path, manifest, key, reading):
                skipped = min(len(block), remaining)
                remaining -= skipped
                if skipped < len(block):
                    num_done += len(block) - skipped
                    yield block.after(skipped) if skipped else block
            return
        except pl.exceptions.ComputeError:
            logger.debug("%s: a column of numbers has something else", path)


def _readings(path: Path, manifest: Manifest) -> tuple[Reading, ...]:
    if is_parquet(path):
        return ("texts",)
    nulls = pl.Series(texts_of_null(manifest), dtype=pl.String)
    has_number = nulls.cast(pl.Float64, strict=False).is_finite().any()  # such as -999
    return _READINGS[1:] if has_number else _READINGS


def _blocks(
    path: Path, manifest: Manifest, key: str | None, reading: Reading
) -> Iterator[TableBlock | FlatBlock]:
    rest: pl.DataFrame | None = None
    seen = SeenKeys(key or "")
    total, position = max(num_rows(path), 1), 0
    for frame in _frames(path, manifest, key, reading):
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
    if manifest.table is not None:  # its columns are smaller than its arrays
        return None
    keys, flat, is_plain = block.to_flat(manifest) or (None, None, None)
    if keys is None or flat is None or is_plain is None or not is_plain.all():
        return None
    return FlatBlock(flat, keys, block.progress)


def _cut(
    frame: pl.DataFrame, ends: Array, key: str | None, seen: SeenKeys, progress: float
) -> Iterator[TableBlock]:
    """Blocks of at most MAX_SEQUENCES sequences and, of several, MAX_VALUES values."""
    max_steps = MAX_VALUES // frame.width
    if key is not None:
        seen.add(frame[key].gather(ends - 1))
    first = start = 0
    while first < len(ends):
        fitting = int(np.searchsorted(ends, start + max_steps, side="right"))
        last = max(first + 1, min(fitting, first + MAX_SEQUENCES))
        stop = int(ends[last - 1])
        yield TableBlock(frame[start:stop], ends[first:last] - start, key, progress)
        first, start = last, stop


def _ends(frame: pl.DataFrame, key: str | None) -> Array:
    """The row behind each sequence."""
    if key is None:
        return np.array([len(frame)])
    keys = frame[key]
    _check_key(keys)
    if keys.has_nulls():
        raise StartupError(f"column {key!r}: a row has no value, so its sequence is unknown")
    changes = (keys != keys.shift(1)).arg_true().to_numpy()  # of the first row, whose shift is null, none
    return np.append(changes, len(frame)).astype(np.int64)


def _check_length(frame: pl.DataFrame) -> None:
    if len(frame) > MAX_ROWS:
        raise StartupError(f"a sequence has more than {MAX_ROWS} rows; --id names the column that ends it")


def _without_empty(frame: pl.DataFrame, path: Path, key: str | None) -> pl.DataFrame:
    """Without the empty lines of a CSV file, which polars reads as rows of null.

    Raises StartupError if there is one in a table that is one sequence, where such a row may be a step.
    """
    is_empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if not is_empty.any():
        return frame
    if key is not None:
        return frame.filter(~is_empty)
    if _EMPTY_LINE.search(path.read_bytes()):
        raise StartupError(f"{path} has an empty line, which may be a step without values: delete it")
    return frame


def _check_key(keys: pl.Series) -> None:
    if keys.dtype.is_nested() or keys.dtype in (pl.Binary, pl.Object):
        raise StartupError(
            f"column {keys.name!r} is {keys.dtype}: expected texts, numbers or times that name the sequences"
        )


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def num_rows(path: Path) -> int:
    """The rows of a table; of a CSV file about as many, by its first lines."""
    if is_parquet(path):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    return round(start.count(b"\n") * path.stat().st_size / max(len(start), 1))


def _scan(path: Path, manifest: Manifest, key: str | None, reading: Reading) -> pl.LazyFrame:
    """The whole file. The columns of CSV are texts, but for numbers that are to be read as such."""
    if is_parquet(path):
        return pl.scan_parquet(path)
    nulls = texts_of_null(manifest)
    if reading == "texts":
        return pl.scan_csv(path, infer_schema=False, null_values=nulls)
    types = {name: pl.Float64 for name in numbers_of(manifest) if name != key}
    if reading == "numbers or missing":
        return pl.scan_csv(path, infer_schema=False, null_values=nulls, schema_overrides=types)
    scan = pl.scan_csv(path, infer_schema=False, schema_overrides=types)
    texts = [pl.col(name) for name in scan.collect_schema().names() if name not in types]
    return scan.with_columns(pl.when(~text.is_in(nulls)).then(text) for text in texts)


def _frames(path: Path, manifest: Manifest, key: str | None, reading: Reading) -> Iterator[pl.DataFrame]:
    """The columns of a file that a model is given, some rows at a time.

    Raises ComputeError if a column of numbers has something else than `reading` says, or StartupError.
    """
    try:
        scan = _scan(path, manifest, key, reading)
        found = scan.collect_schema().names()
        names, missing = names_in(manifest, found)
        if key is not None:
            names, missing = [key, *names], missing + [key] * (key not in found)
        if missing:
            listed = ", ".join(map(repr, missing))
            has = ", ".join(map(repr, found))
            raise StartupError(f"{path} has no column {listed}; its columns are {has}")
        names = list(dict.fromkeys(names))
        rows = max(1, READ_VALUES // len(names))
        nulls = texts_of_null(manifest)
        for frame in scan.select(names).collect_batches(chunk_size=rows, maintain_order=True):
            plain = frame.with_columns(as_plain(frame[name], nulls) for name in names if name != key)
            yield plain if is_parquet(path) else _without_empty(plain, path, key)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        if reading != "texts" and isinstance(error, pl.exceptions.ComputeError):
            raise
        raise StartupError(f"{path}: {str(error).splitlines()[0]}") from error
