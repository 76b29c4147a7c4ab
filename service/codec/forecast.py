"""The body of `POST /sessions/{session}/forecast`: how far, and what is known of the steps ahead.

It knows the manifest and JSON; it knows nothing of HTTP, sessions or how values are fed back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from service.codec.arrays import Kept, Steps, check_window, decode_inputs
from service.codec.feedback import Fed, column_names
from service.codec.fields import parse_object, read_count, refuse_unknown
from service.codec.records import Times, rows_ahead
from service.errors import (
    BadInput,
    ForecastNotSupported,
    InvalidField,
    SequenceTooLong,
    TooManySequences,
    WrongShape,
)
from service.manifest import InputSpec, Manifest
from service.sequence import Array

_FIELDS = frozenset({"horizon", "inputs", "samples", "seed", "at"})


@dataclass(slots=True, frozen=True)
class Forecast:
    """A request whose fields are valid; its inputs are still JSON."""

    horizon: int  # steps
    inputs: Any = None  # as `steps` of `/predict`, with null for what is fed back
    samples: int = 1
    seed: int | None = None  # None: random
    at: int | None = None  # the step to begin from; None: the session's


class Ahead(NamedTuple):
    """The steps ahead, as far as they are known."""

    inputs: Steps  # each [horizon, *dims]; what is fed back is 0
    kept: Kept
    is_fed: Array  # [horizon, numbers that can be fed back]: whether one is
    is_by_name: bool = (
        False  # the steps are records, and what follows from their times is not in `inputs` yet
    )
    times: Times | None = None  # of records; None: they have none


def parse(body: bytes, *, max_steps: int, max_sequences: int) -> Forecast:
    """Read a request. Raises a BadInput, also if it is larger than the server allows."""
    document = parse_object(body)
    refuse_unknown(document, _FIELDS)
    horizon = read_count(document, "horizon", 1)
    if horizon is None:
        raise InvalidField("expected a number of steps, got nothing", pointer="/horizon")
    samples = read_count(document, "samples", 1) or 1
    if samples > max_sequences:
        raise TooManySequences(f"{samples} samples, the maximum is {max_sequences}", pointer="/samples")
    if horizon * samples > max_steps:
        raise SequenceTooLong(
            f"{horizon} steps of {samples} samples are {horizon * samples}, the maximum is {max_steps}",
            pointer="/horizon",
        )
    seed, at = read_count(document, "seed", 0), read_count(document, "at", 0)
    return Forecast(horizon, document.get("inputs"), samples, seed, at)


def decode_ahead(forecast: Forecast, manifest: Manifest, fed: Sequence[Fed]) -> Ahead:
    """The inputs of every step ahead. Raises a BadInput that points at the fault."""
    is_fed = np.zeros((forecast.horizon, len(fed)), np.bool_)
    specs, given = manifest.step_inputs, forecast.inputs
    if isinstance(given, list) and given and isinstance(given[0], dict) and manifest.table is not None:
        return _decode_records(given, forecast, manifest, fed, is_fed)
    if given is None:
        given = {}
    if isinstance(given, dict):
        filled: Any = dict(given)
        for index, spec in enumerate(specs):
            rows = given.get(spec.name)
            pointer = f"/inputs/{spec.name}" if spec.name in given else "/inputs"
            filled[spec.name] = _fill(rows, index, spec, fed, is_fed, pointer)
    elif len(specs) == 1:
        filled = _fill(given, 0, specs[0], fed, is_fed, "/inputs")
    else:
        filled = given  # which `decode_inputs` refuses
    inputs, kept = decode_inputs(filled, manifest, "/inputs", forecast.horizon)
    _check_window(forecast, manifest, is_fed)
    return Ahead(inputs, kept, is_fed)


def _decode_records(
    records: list[Any], forecast: Forecast, manifest: Manifest, fed: Sequence[Fed], is_fed: Array
) -> Ahead:
    """The same of records of the table: without a value for what is fed back, and perhaps without times."""
    rows = rows_ahead(records, forecast.horizon, manifest, "/inputs")
    named: Any = rows.values
    specs = manifest.step_inputs
    if len(manifest.inputs) == 1:
        named = _fill(named, 0, specs[0], fed, is_fed, "/inputs")
    else:
        for index, spec in enumerate(specs):
            named[spec.name] = _fill(named[spec.name], index, spec, fed, is_fed, "/inputs")
    try:
        inputs, kept = decode_inputs(named, manifest, "/inputs", forecast.horizon)
    except BadInput as error:
        inner = (error.pointer or "").removeprefix("/inputs")
        error.pointer = "/inputs" + rows.pointer(inner, records, manifest)
        raise
    _check_window(forecast, manifest, is_fed)
    return Ahead(inputs, kept, is_fed, is_by_name=True, times=rows.times)


def _fill(rows: Any, index: int, spec: InputSpec, fed: Sequence[Fed], is_fed: Array, pointer: str) -> Any:
    """The rows of an input with 0 in the place of what is fed back, which is noted in `is_fed`.

    Values that are no rows are left to `decode_inputs`.
    """
    horizon = len(is_fed)
    columns = {one.column: place for place, one in enumerate(fed) if one.input == index}
    rows = [] if rows is None else rows
    if isinstance(rows, str):  # a text, whose tokens are counted later
        return rows
    if not isinstance(rows, list):
        return rows
    if len(rows) > horizon:
        raise WrongShape(f"{len(rows)} rows, but the horizon is {horizon}", pointer=pointer)
    if len(rows) < horizon and len(columns) < spec.width:
        raise ForecastNotSupported(_why_rows_are_needed(spec, columns, len(rows), horizon), pointer=pointer)
    filled = [*rows, *[None] * (horizon - len(rows))]
    if columns:
        for step, row in enumerate(filled):
            filled[step] = _fill_row(row, spec, columns, is_fed[step])
    return filled


def _fill_row(row: Any, spec: InputSpec, columns: dict[int, int], is_fed: Array) -> Any:
    if not spec.dims:
        if row is None:
            is_fed[columns[0]] = True
        return 0 if row is None else row
    if row is None and len(columns) == spec.width:
        row = [None] * spec.width
    if not isinstance(row, list) or len(row) != spec.width:
        return row
    filled = list(row)
    for column, place in columns.items():
        if filled[column] is None:
            filled[column], is_fed[place] = 0, True
    return filled


def _why_rows_are_needed(spec: InputSpec, columns: dict[int, int], given: int, horizon: int) -> str:
    needed = f'"inputs" needs a row for each of the {horizon} steps, and has {given} of {spec.name!r}'
    if not columns:
        return f"no output of the model forecasts its input {spec.name!r} one step ahead, so {needed}"
    missing = [repr(name) for column, name in enumerate(column_names(spec)) if column not in columns]
    listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    return f"no output of the model forecasts {listed} one step ahead, so {needed}"


def _check_window(forecast: Forecast, manifest: Manifest, is_fed: Array) -> None:
    if is_fed.any() and manifest.step_multiple > 1:
        raise ForecastNotSupported(
            f"the model takes {manifest.step_multiple} steps at a time, so none of its outputs can be the "
            'next input: "inputs" needs every value',
            pointer="/inputs",
        )
    check_window(forecast.horizon, manifest, "/horizon")
