"""The answers of a block as rows of CSV or Parquet: one for each sequence, or for each of its time steps.

    call,step,label,probability,output_1,output_2,error_code,error
    a,,2,0.9,0.1,0.9,,
    b,,,,,,non_finite,"/steps/3/1: null: this model takes no missing values"

It knows outputs, keys and polars; it knows nothing of models.
"""

import io
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from service.codec.labels import predicted
from service.errors import StartupError
from service.manifest import OutputSpec
from service.offline.block import Answer, Answers, Keys
from service.sequence import Array

SEPARATORS = ";|,"  # of labels in a field: the first that no label has in it
ERRORS = ("error_code", "error")
_OWN = re.compile(r"\d{8,}\.parquet")  # the files of a part
_JOINED = "joined"  # what becomes the output, in the same folder
_FLOATS = {"float16": "float32", "float32": "float32", "float64": "float64", "bool": "bool"}


def names_of(spec: OutputSpec) -> list[str]:
    """The columns of an output: by what each number forecasts, its class, or its place."""
    if spec.forecasts:
        return [
            f"{one.feature}+{one.steps}" + ("" if one.quantile is None else f"_{one.short_name}")
            for one in spec.forecasts
        ]
    if spec.estimates:
        return [
            f"output_{one.target}" + ("" if one.quantile is None else f"_{one.short_name}")
            for one in spec.estimates
        ]
    if spec.labels:
        return [f"output_{label}" for label in spec.labels]
    return ["_".join(map(str, ("output", *index))) for index in product(*map(range, spec.dims))]


class TableEncoder:
    """Rows of a table. Without `keep_all` a sequence has one row, and no step."""

    def __init__(self, *, is_parquet: bool, keep_all: bool) -> None:
        self.suffix = ".parquet" if is_parquet else ".csv"
        self._is_parquet = is_parquet
        self._keep_all = keep_all

    def names(self, spec: OutputSpec) -> list[str]:
        """See `Encoder.names`."""
        labels = ["labels"] if spec.kind == "labels" else ["label", "probability"]
        return ["step", *labels, *names_of(spec), *ERRORS]

    def head(self, spec: OutputSpec, key: str) -> bytes:
        """The line of names that a CSV file begins with."""
        if self._is_parquet:
            return b""
        return self._write(self._frame(spec, Keys(key, []), []), include_header=True)

    def encode(self, spec: OutputSpec, keys: Keys, answers: Answers) -> bytes:
        """The rows of a block; of Parquet a whole file."""
        return self._write(self._frame(spec, keys, answers), include_header=False)

    def _write(self, frame: pl.DataFrame, *, include_header: bool) -> bytes:
        if not self._is_parquet:
            return frame.write_csv(include_header=include_header).encode()
        file = io.BytesIO()
        # What the files hold is compressed when they are joined.
        frame.write_parquet(file, compression="uncompressed", statistics=False)
        return file.getvalue()

    def _frame(self, spec: OutputSpec, keys: Keys, answers: Answers) -> pl.DataFrame:
        if isinstance(answers, np.ndarray):
            columns = self._answered(spec, keys, answers.reshape(len(answers), -1), [1] * len(answers))
            return pl.DataFrame(columns | {name: _nulls(len(answers)) for name in ERRORS})
        errors = [answer if isinstance(answer, Mapping) else None for answer in answers]
        rows = [len(each) if self._keep_all and isinstance(each, np.ndarray) else 1 for each in answers]
        frame = pl.DataFrame(self._answered(spec, keys, _matrix(spec, answers, rows), rows))
        is_error = pl.Series(_repeated([error is not None for error in errors], rows), dtype=pl.Boolean)
        names = [name for name in frame.columns if name != keys.name]
        frame = frame.with_columns(pl.when(~is_error).then(pl.col(name)).alias(name) for name in names)
        texts = zip(ERRORS, (_code, _text), strict=True)
        return frame.with_columns(
            pl.Series(name, _repeated([text(error) for error in errors], rows), pl.String)
            for name, text in texts
        )

    def _answered(self, spec: OutputSpec, keys: Keys, values: Array, rows: list[int]) -> dict[str, pl.Series]:
        """The columns but for errors; `values`: [rows, numbers], `rows`: how many each sequence has."""
        columns = {keys.name: _repeat(keys, rows)}
        if self._keep_all:
            columns["step"] = pl.Series([n for count in rows for n in range(1, count + 1)], dtype=pl.Int64)
        if spec.kind == "probabilities" and len(spec.dims) == 1:
            columns |= _labels(spec, values)
        if spec.kind == "labels":
            columns["labels"] = _predicted(spec, values)
        dtype = _FLOATS.get(spec.dtype, "int64")
        by_column = values.T.astype(dtype, order="C", copy=False)
        return columns | {name: pl.Series(by_column[place]) for place, name in enumerate(names_of(spec))}


def _nulls(rows: int) -> pl.Series:
    return pl.repeat(None, rows, dtype=pl.String, eager=True)


def _matrix(spec: OutputSpec, answers: Sequence[Answer], rows: list[int]) -> Array:
    """[rows, numbers]; 0 in the place of errors."""
    width = int(np.prod(spec.dims, dtype=np.int64))
    parts = [
        answer.reshape(count, width)
        if isinstance(answer, np.ndarray)
        else np.zeros((count, width), spec.dtype)
        for answer, count in zip(answers, rows, strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, width), spec.dtype)


def _labels(spec: OutputSpec, values: Array) -> dict[str, pl.Series]:
    """The likeliest class of each row, as the reply to `/predict` has it; NaN gives none."""
    probability = values.max(-1, initial=-np.inf)
    columns = {"probability": pl.Series(probability.astype(spec.dtype))}
    if not spec.labels:
        return columns
    best = values.argmax(-1) if len(values) else []
    labels = pl.Series(spec.labels, dtype=pl.String).gather(best)
    if not (is_finite := np.isfinite(probability)).all():
        labels = labels.zip_with(pl.Series(is_finite), _nulls(len(labels)))
    return {"label": labels, **columns}


def _predicted(spec: OutputSpec, values: Array) -> pl.Series:
    """The labels of each row, as the reply to `/predict` has them, joined; NaN gives none."""
    between = next((mark for mark in SEPARATORS if not any(mark in label for label in spec.labels)), "\n")
    found = (predicted(spec, row) for row in values)
    texts = [None if each is None else between.join(one["label"] for one in each) for each in found]
    return pl.Series(texts, dtype=pl.String)


def _repeat(keys: Keys, rows: list[int]) -> pl.Series:
    values = _repeated(keys.values, rows)
    if keys.is_typed:
        return pl.Series(values)
    texts = [key if key is None or isinstance(key, str) else orjson.dumps(key).decode() for key in values]
    return pl.Series(texts, dtype=pl.String)


def _repeated(values: Sequence[Any], rows: list[int]) -> list[Any]:
    if max(rows, default=1) == 1:  # none has no rows
        return list(values)
    return [value for value, count in zip(values, rows, strict=True) for _ in range(count)]


def _code(error: Any) -> str | None:
    return None if error is None else str(error["code"])


def _text(error: Any) -> str | None:
    if error is None:
        return None
    pointer = error.get("pointer")
    return f"{pointer}: {error['detail']}" if pointer else str(error["detail"])


class ParquetMedium:
    """A folder of Parquet files, one a block, which are joined at the end."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self._path = path
        self._size = 0

    def cut(self, size: int) -> None:
        """Keep the first files. Raises StartupError if there are others: at the end the folder is deleted."""
        (self._path / _JOINED).unlink(missing_ok=True)  # of a run that was killed at its end
        files = list(self._path.iterdir())
        if strange := [file.name for file in files if not _OWN.fullmatch(file.name)]:
            raise StartupError(f"{self._path} holds {strange[0]!r}, which no run wrote: name another output")
        for file in files:
            if int(file.stem) >= size:
                file.unlink()
        self._size = size

    def append(self, encoded: bytes) -> int:
        """Write one more file; 1."""
        path = self._path / f"{self._size:08}.parquet"
        with path.open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        self._size += 1
        return 1

    def sync(self) -> None:
        """Each file has reached the disk; now its name."""
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def finish(self, output: Path) -> None:
        """Join the files, a piece at a time, and delete them."""
        files = sorted(self._path.glob("*.parquet"))
        joined = self._path / _JOINED
        pl.scan_parquet(files).sink_parquet(joined)
        joined.replace(output)
        shutil.rmtree(self._path)

    def close(self) -> None:
        """Nothing is open."""
