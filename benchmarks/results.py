"""What was measured, and the few statistics made of it. Knows numbers; runs nothing."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

US = "Cellgate"
LIMIT = "limit (HTTP floor + kernel)"
KERNEL = "bare ONNX Runtime"


@dataclass(slots=True)
class Row:
    """One contestant under one load: the figures of each round, or why there are none."""

    name: str
    runs: list[dict[str, float]] = field(default_factory=list)
    note: str = ""

    def median(self, figure: str) -> float | None:
        """Over the rounds; None when it was not measured."""
        values = [run[figure] for run in self.runs if figure in run]
        return median(values) if values else None

    def spread(self, figure: str) -> float | None:
        """(largest - smallest) / median over the rounds."""
        values = [run[figure] for run in self.runs if figure in run]
        middle = median(values) if values else 0.0
        return (max(values) - min(values)) / middle if len(values) > 1 and middle else None


@dataclass(slots=True)
class Result:
    """A load, measured."""

    key: str
    title: str
    figure: str  # which of the runs' figures is compared
    rows: list[Row]
    lower_is_better: bool = False
    targets: dict[str, float] = field(default_factory=dict)  # row name → least ratio
    notes: list[str] = field(default_factory=list)
    baseline: str = US

    def row(self, name: str) -> Row:
        """By name; an empty one when it took no part."""
        return next((row for row in self.rows if row.name == name), Row(name))

    def ratio(self, name: str) -> float | None:
        """How many times better the baseline is than that row."""
        ours, theirs = self.row(self.baseline).median(self.figure), self.row(name).median(self.figure)
        if not ours or not theirs:
            return None
        return theirs / ours if self.lower_is_better else ours / theirs

    def as_json(self) -> dict[str, Any]:
        """Everything measured, with medians and ratios beside it."""
        document = asdict(self)
        for row in document["rows"]:
            source = self.row(row["name"])
            row["median"], row["spread"] = source.median(self.figure), source.spread(self.figure)
            row["ratio"] = self.ratio(row["name"])
        return document
