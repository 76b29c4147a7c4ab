"""The column of times of a table: how it is written, and what a clock of its zone shows at a time.

It knows formats, units and zones; it knows nothing of other columns.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from service.specs import Spec

ISO, NUMBER, OFFSET = "iso8601", "number", "offset"
SCALES = {NUMBER: 1.0, "seconds": 1.0, "milliseconds": 1e-3}  # formats that are numbers: seconds of each
DAY_S = 86400.0
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

        `after`: the seconds of the step before, which decides which of the two hours it is that a clock shows
        twice. Raises ValueError for a value that is not of this format, or breaks the rule of the zone.
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

    def clock(self, seconds: float, ahead: int = 0) -> datetime:
        """What a clock shows at a result of `seconds`, or so many steps of `spacing` later.

        It is a clock of the zone; of UTC where times have offsets or are numbers since 1970. Steps of whole
        days are days of that clock, also where it is put forward or back. Raises ValueError for a year that
        no clock shows.
        """
        later = timedelta(seconds=ahead * self.spacing_s) if ahead else timedelta()
        are_days = self.spacing_s % DAY_S == 0
        try:
            moment = _EPOCH + timedelta(seconds=seconds) + (timedelta() if are_days else later)
            if self.zone not in (None, OFFSET):
                moment = moment.replace(tzinfo=UTC).astimezone(self._named_zone).replace(tzinfo=None)
            return moment + later if are_days else moment
        except (OverflowError, ValueError):
            raise ValueError(f"{seconds!r} seconds is outside the years that clocks show") from None

    @cached_property
    def spacing_s(self) -> float:
        """The usual time between two steps in seconds; 0: unknown."""
        return (self.spacing or 0.0) * UNITS[self.unit]

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
