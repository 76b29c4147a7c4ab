"""Features of the calendar: where a step is in the hour, the day, the week, the month and the year.

    2024-05-01T18:00 ─ a clock of the table's zone ─ phase of the day 0.75 ─→ hour_sin -1.0, hour_cos 0.0

Each part has a sine and a cosine, so that its end is next to its start. Training, the server and
`cellgate predict` compute them here, number by number in float64: the same time has the same bits everywhere.
It knows dates; it knows nothing of tables or requests.
"""

import math
from calendar import isleap, monthrange
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Protocol

CalendarPart = Literal["minute", "hour", "weekday", "day_of_month", "month", "day_of_year"]
CalendarFeature = Literal[
    "minute_sin",
    "minute_cos",
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "day_of_month_sin",
    "day_of_month_cos",
    "month_sin",
    "month_cos",
    "day_of_year_sin",
    "day_of_year_cos",
]


class Clock(Protocol):
    """What tells the date and the time of day: `TimeSpec`."""

    def clock(self, seconds: float, ahead: int = 0) -> datetime:
        """What it shows at a time, or so many steps later. Raises ValueError."""
        ...


def features_of(part: CalendarPart) -> tuple[CalendarFeature, CalendarFeature]:
    """The two features of a part."""
    return f"{part}_sin", f"{part}_cos"  # type: ignore[return-value]


def calendar(clock: Clock, features: Iterable[tuple[CalendarFeature, int]], seconds: float) -> list[float]:
    """Each feature at a time, or so many steps after it. Raises ValueError for a year that no clock shows."""
    shown: dict[int, datetime] = {}
    values = []
    for name, ahead in features:
        if ahead not in shown:
            shown[ahead] = clock.clock(seconds, ahead)
        part, _, wave = name.rpartition("_")
        angle = 2 * math.pi * phase(part, shown[ahead])
        values.append(math.sin(angle) if wave == "sin" else math.cos(angle))
    return values


def phase(part: str, shown: datetime) -> float:
    """Where a date and time is in the cycle of a part, from 0 up to 1.

    Hours and minutes pass continuously; days and months count as a whole.
    """
    if part == "hour":
        return (shown.hour * 3600 + shown.minute * 60 + shown.second + shown.microsecond / 1e6) / 86400
    if part == "minute":
        return (shown.minute * 60 + shown.second + shown.microsecond / 1e6) / 3600
    if part == "weekday":
        return shown.weekday() / 7
    if part == "day_of_month":
        return (shown.day - 1) / monthrange(shown.year, shown.month)[1]
    if part == "month":
        return (shown.month - 1) / 12
    return (shown.timetuple().tm_yday - 1) / (366 if isleap(shown.year) else 365)
