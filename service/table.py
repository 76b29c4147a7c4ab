"""How the table that a model was trained on is read: which column is which number of which input.

With it, and with the inputs of the manifest, a row of the table is a step of a request:

    {"temperature": 41, "mode": "run", "timestamp": "2024-05-01T10:05"}
        column       input    place
        temperature  numbers  0        41.0
        (derived)    numbers  1        minutes since the step before, 0.0 at the first
        mode         mode     0        the id of "run" in the input's vocabulary

It knows names, times and units; it knows nothing of requests, of sessions, or of how a file is parsed.
"""

import math
import re
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from service.specs import InputSpec, Spec

ISO, NUMBER, OFFSET = "iso8601", "number", "offset"
SCALES = {NUMBER: 1.0, "seconds": 1.0, "milliseconds": 1e-3}  # formats that are numbers: seconds of each
UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "": 1.0}  # seconds; "": as the numbers are
_EPOCH, _EPOCH_UTC = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)
_SUB_SECOND = re.compile(r"(\.\d{6})\d+")  # Python knows microseconds


class TimeSpec(Spec):
    """The column of times: its format, and the time since the previous step."""

    column: str = Field(description="its name")
    format: str = Field(
        ISO,
        description='"iso8601"; "seconds" or "milliseconds"; "number", whose unit is unknown; or a format of '
        "`strptime`, such as %d/%m/%Y",
    )
    zone: str | None = Field(
        None,
        description='null: times have no zone, and differ by their clock; "offset": each ends with Z or an '
        "offset; else the zone, such as Europe/Berlin, of times without an offset",
    )
    unit: Literal["d", "h", "min", "s", ""] = Field(
        "", description="of `spacing` and of the time since the previous step; empty: that of the numbers"
    )
    spacing: float | None = Field(
        None,
        description="the usual time between two steps, in `unit`. Without a column of the time since the "
        "previous step, it is that of all steps",
    )

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format != ISO and self.format not in SCALES and "%" not in self.format:
            raise ValueError(
                f"time format {self.format!r}: expected {ISO}, {', '.join(SCALES)}, or a format of strptime "
                "such as %d/%m/%Y"
            )
        if self.zone is not None and self.format in SCALES:
            raise ValueError(f"times of the format {self.format!r} have no zone, but zone is {self.zone!r}")
        if self.zone not in (None, OFFSET):
            self._named_zone  # noqa: B018  # it raises
        return self

    def seconds(self, value: str | float, after: float | None = None) -> float:
        """A time as seconds, since 1970 for dates; of the format `number` the number itself.

        `after`: the seconds of the step before, by which the hour is told that a clock shows twice. Raises
        ValueError for a value that is not of this format, or breaks the rule of the zone.
        """
        if self.format in SCALES:
            return self._number(value)
        text = str(value) if type(value) is int else value
        try:
            if not isinstance(text, str):
                raise TypeError
            moment = self._moment(text.strip())
        except (ValueError, TypeError):
            raise ValueError(f"{value!r} is not a time ({self.expected})") from None
        return self._on_the_clock(moment, text, after)

    def since(self, before: float | None, now: float) -> float:
        """The time since the previous step in `unit`, of two results of `seconds`; 0 at the first step."""
        return 0.0 if before is None else (now - before) / UNITS[self.unit]

    @property
    def scale(self) -> float | None:
        """Seconds of a number of this format; None: times are texts."""
        return SCALES.get(self.format)

    @property
    def expected(self) -> str:
        """What a value of the column is, for a message."""
        if self.format in SCALES:
            return "a number" if self.format == NUMBER else f"a number of {self.format}"
        return "ISO 8601" if self.format == ISO else f"written as {self.format}"

    @cached_property
    def _named_zone(self) -> ZoneInfo:
        assert self.zone is not None
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {self.zone!r} on this machine") from error

    def _number(self, value: str | float) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (ValueError, TypeError, OverflowError):  # the last of an integer with hundreds of digits
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not a time ({self.expected})")
        return number * SCALES[self.format]

    def _moment(self, text: str) -> datetime:
        if self.format == ISO:
            if text.isdecimal() and len(text) != len("20240501"):  # 1712051231234 ms would be a day of 1712
                raise ValueError(text)
            return datetime.fromisoformat(_SUB_SECOND.sub(r"\1", text) if "." in text else text)
        return datetime.strptime(text, self.format)  # `zone` says whether it has one

    def _on_the_clock(self, moment: datetime, text: str, after: float | None) -> float:
        """Seconds by the rule of the zone. Raises ValueError."""
        if self.zone is None:
            if moment.tzinfo is not None:
                raise ValueError(f"{text!r} has a zone, but the times of {self.column!r} have none")
            return (moment - _EPOCH).total_seconds()
        if moment.tzinfo is not None:
            return (moment - _EPOCH_UTC).total_seconds()
        if self.zone == OFFSET:
            raise ValueError(f"{text!r} has no zone, but the times of {self.column!r} have one")
        if not 1 < moment.year < datetime.max.year:
            raise ValueError(f"{text!r} is outside the years that time zones are known for")
        local = moment.replace(tzinfo=self._named_zone)
        if local.astimezone(UTC).astimezone(self._named_zone).replace(tzinfo=None) != moment:
            raise ValueError(f"{text!r} does not exist in {self.zone}: its clock skips that hour")
        first, second = ((local.replace(fold=fold) - _EPOCH_UTC).total_seconds() for fold in (0, 1))
        return second if after is not None and first <= after else first


class TableColumn(Spec):
    """A number or a category of a step, by the name of its column."""

    name: str = Field(description="of the column; of a derived one, its name among the input's features")
    kind: Literal["number", "category"] = Field(description="category: a token of the input's vocabulary")
    input: str = Field(description="the input that it belongs to")
    place: int = Field(0, ge=0, description="its place in a step of that input")
    unit: str = Field("", description="empty: unknown")
    derived: Literal["since_previous"] | None = Field(
        None, description="since_previous: not a column of the table, but computed from the time column"
    )


class TableSpec(Spec):
    """How a table is read. A row without a value in a column is `null` there."""

    id_column: str | None = Field(None, description="names the sequence of a row; null: there is one")
    time: TimeSpec | None = Field(None, description="null: steps have no times")
    columns: tuple[TableColumn, ...] = Field(description="in the order of the table; derived ones last")
    unused: tuple[str, ...] = Field(
        (), description="columns that no input has: targets of a classification, ignored and empty ones"
    )
    targets: tuple[str, ...] = Field((), description="the columns that the model predicts")
    horizons: tuple[int, ...] = Field((), description="of a forecast: how many rows ahead")
    horizon_names: tuple[str, ...] = Field((), description='a name for each: "+4 steps"')
    missing: tuple[str, ...] = Field((), description="texts that mean that there is no value, as null does")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        id_and_time = [self.id_column, self.time.column if self.time else None]
        names = [*filter(None, id_and_time), *self.unused, *(column.name for column in self.columns)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"table: two columns are called {', '.join(twice)}")
        unknown = sorted(set(self.targets) - set(names))
        if unknown:
            raise ValueError(f"table: the target {unknown[0]!r} is no column")
        if len(self.horizons) != len(self.horizon_names):
            raise ValueError(f"table: {len(self.horizon_names)} names for {len(self.horizons)} horizons")
        if self.time is None and any(column.derived for column in self.columns):
            raise ValueError("table: a derived column needs a time column")
        return self

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all columns of the table; derived ones are none of it."""
        own = (column.name for column in self.columns if not column.derived)
        time = None if self.time is None else self.time.column
        return frozenset({*own, *self.unused, *filter(None, (self.id_column, time))})

    @cached_property
    def texts_of_null(self) -> frozenset[str]:
        """`missing` as a set."""
        return frozenset(self.missing)

    @cached_property
    def since_previous(self) -> TableColumn | None:
        """The derived column; None: there is none."""
        return next((column for column in self.columns if column.derived == "since_previous"), None)

    def of_input(self, name: str) -> tuple[TableColumn, ...]:
        """The columns of an input, by their places in a step."""
        return tuple(sorted((c for c in self.columns if c.input == name), key=lambda column: column.place))

    @cached_property
    def by_name(self) -> dict[str, TableColumn]:
        """The columns of the inputs by name."""
        return {column.name: column for column in self.columns}

    def fault(self, inputs: tuple[InputSpec, ...]) -> str | None:
        """Why the columns are not exactly the steps of these inputs; None if they are."""
        expected = {
            (spec.name, place): spec.features[place] if spec.features else spec.name
            for spec in inputs
            for place in range(spec.width)
        }
        actual = {(column.input, column.place): column for column in self.columns}
        if len(actual) < len(self.columns) or actual.keys() != expected.keys():
            return f"{len(self.columns)} columns are not the {len(expected)} places of the inputs, each once"
        tokens = {spec.name for spec in inputs if spec.kind == "token"}
        for at, column in actual.items():
            if column.name != expected[at]:
                return f"column {column.name!r} is {expected[at]!r} in input {column.input!r}"
            if (column.kind == "category") != (column.input in tokens):
                return f"column {column.name!r} is a {column.kind}, but input {column.input!r} is not"
        return None
