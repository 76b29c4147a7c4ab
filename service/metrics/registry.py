"""Counters, gauges and histograms, by label values. Counting costs about 0.1 µs.

A worker that is killed loses what its histograms observed since the last `flush`, and no counts.

The label values of a metric are bounded by the code that sets them: a client cannot make a new series.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from service.metrics.values import Series, Values, read_all

Kind = Literal["counter", "gauge", "histogram"]

# Seconds: of requests, stages, engine calls and store operations.
SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


Observed = TypeVar("Observed")


class Counter:
    """A sum that only grows."""

    __slots__ = ("_place", "_values")

    def __init__(self, values: "memoryview[float]", place: int) -> None:
        self._values, self._place = values, place

    def add(self, amount: float = 1.0) -> None:
        """Count `amount`, which is not negative."""
        self._values[self._place] += amount


class Gauge:
    """A value of now."""

    __slots__ = ("_place", "_values")

    def __init__(self, values: "memoryview[float]", place: int) -> None:
        self._values, self._place = values, place

    def set(self, value: float) -> None:
        """Replace the value."""
        self._values[self._place] = value


class Histogram:
    """How many observations fell in each bucket, and their sum: [one for each bound, beyond all, sum].

    An observation is only put into a list; `flush` counts them all together, at a tenth of the cost.
    """

    __slots__ = ("_bounds", "_pending", "_place", "_values", "extend", "observe")

    def __init__(self, values: "memoryview[float]", place: int, *, bounds: Sequence[float]) -> None:
        self._values, self._place, self._bounds = values, place, np.array(bounds, np.float64)
        self._pending: list[float] = []
        self.observe: Callable[[float], None] = self._pending.append  # a value equal to a bound is below it
        self.extend: Callable[[Iterable[float]], None] = self._pending.extend

    def flush(self) -> None:
        """Count what has been observed."""
        pending = self._pending[:]
        del self._pending[: len(pending)]  # other threads may observe meanwhile
        if not pending or not self._place:
            return
        observed = np.array(pending, np.float64)
        found = np.bincount(np.searchsorted(self._bounds, observed), minlength=len(self._bounds) + 1)
        for place, count in enumerate([*found.tolist(), float(observed.sum())], self._place):
            self._values[place] += count


class Row(Generic[Observed]):
    """Histograms that are observed together. `observe` only lists an object that has all their values."""

    __slots__ = ("_histograms", "_pending", "_read", "observe")

    def __init__(
        self, histograms: Sequence[Histogram], read: Callable[[Observed], tuple[float, ...]]
    ) -> None:
        """`read`: the value of each histogram, in their order."""
        self._histograms, self._read = histograms, read
        self._pending: list[Observed] = []
        self.observe: Callable[[Observed], None] = self._pending.append

    def flush(self) -> None:
        """Let the histograms observe what has been observed. To be called before they are flushed."""
        pending = self._pending[:]
        del self._pending[: len(pending)]
        for histogram, values in zip(
            self._histograms, zip(*map(self._read, pending), strict=True), strict=False
        ):
            histogram.extend(values)


Child = TypeVar("Child")
Create = Callable[["memoryview[float]", int], Child]


@dataclass(slots=True, frozen=True)
class Description:
    """The description of a metric: all but its values."""

    kind: Kind
    name: str  # of a counter: without _total
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()  # of a histogram's buckets; there is one more, beyond all
    is_common: bool = False  # of a gauge: every worker has the same value, so that they are not added up

    @property
    def size(self) -> int:
        """How many numbers a series has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Family(Generic[Child]):
    """One metric: a child for each combination of label values."""

    def __init__(self, values: Values, described: Description, create: Create[Child]) -> None:
        self.described = described
        self._values = values
        self._create_child = create
        self._children: dict[tuple[str, ...], Child] = {}

    def labels(self, *labels: str) -> Child:
        """The child of these label values, in the order of the names. To be kept where it is used often."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._create(labels)
        return child

    def children(self) -> list[Child]:
        """Every child so far."""
        return list(self._children.values())

    def _create(self, labels: tuple[str, ...]) -> Child:
        described, values = self.described, self._values
        if len(labels) != len(described.labels):
            raise TypeError(f"{described.name} has the labels {described.labels}")
        place = values.place(described.kind, described.name, labels, described.size)
        return self._create_child(values.values, place)


class Registry:
    """The metrics of one worker."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: shared by all workers; None: there is no other one. Raises OSError."""
        self._folder = folder
        self._values = Values(folder)
        self._described: dict[str, Description] = {}
        self._histograms: list[Family[Histogram]] = []
        self._rows: list[Row[Any]] = []

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Family[Counter]:
        """A new counter; its name is shown with the suffix _total."""
        return self._family(Description("counter", name, text, labels), Counter)

    def gauge(
        self, name: str, text: str, labels: tuple[str, ...] = (), *, is_common: bool = False
    ) -> Family[Gauge]:
        """A new gauge, added up over workers unless its value `is_common` to them."""
        return self._family(Description("gauge", name, text, labels, is_common=is_common), Gauge)

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), *, bounds: tuple[float, ...] = SECONDS
    ) -> Family[Histogram]:
        """A new histogram."""
        create = functools.partial(Histogram, bounds=bounds)
        self._histograms.append(self._family(Description("histogram", name, text, labels, bounds), create))
        return self._histograms[-1]

    def row(
        self, histograms: Sequence[Histogram], read: Callable[[Observed], tuple[float, ...]]
    ) -> Row[Observed]:
        """Observe these histograms together; see `Row`."""
        row = Row(histograms, read)
        self._rows.append(row)
        return row

    def flush(self) -> None:
        """Count what the histograms have observed. To be called some times a second."""
        for row in list(self._rows):
            row.flush()
        for family in self._histograms:
            for histogram in family.children():
                histogram.flush()

    @property
    def described(self) -> list[Description]:
        """All metrics, in the order in which they were created."""
        return list(self._described.values())

    def read(self) -> Iterator[tuple[Series, list[float]]]:
        """The series of all workers, this one's as last flushed. May run in a thread. Raises OSError."""
        return self._values.read() if self._folder is None else read_all(self._folder)

    def close(self) -> None:
        """Let the next worker continue the counts."""
        self._values.close()

    def _family(self, described: Description, create: Create[Child]) -> Family[Child]:
        if described.name in self._described:
            raise ValueError(f"{described.name} is defined twice")
        self._described[described.name] = described
        return Family(self._values, described, create)
