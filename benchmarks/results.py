"""Measurements and their statistics."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

US = "Cellgate"
LIMIT = "limit (HTTP floor + kernel)"
KERNEL = "bare ONNX Runtime"


@dataclass(slots=True)
class Row:
    """One contestant under one load: the figures of each round, or the reason why there are none."""

    name: str
    runs: list[dict[str, float]] = field(default_factory=list)
    note: str = ""

    def median(self, figure: str) -> float | None:
        """Median over the rounds; None if not measured."""
        values = [run[figure] for run in self.runs if figure in run]
        return median(values) if values else None

    def spread(self, figure: str) -> float | None:
        """(largest - smallest) / median over the rounds."""
        values = [run[figure] for run in self.runs if figure in run]
        middle = median(values) if values else 0.0
        return (max(values) - min(values)) / middle if len(values) > 1 and middle else None


@dataclass(slots=True)
class Result:
    """The measurements of one load."""

    key: str
    title: str
    figure: str  # the figure of the runs that is compared
    rows: list[Row]
    lower_is_better: bool = False
    targets: dict[str, float] = field(default_factory=dict)  # row name → minimum ratio
    notes: list[str] = field(default_factory=list)
    baseline: str = US

    def row(self, name: str) -> Row:
        """The row of that name; an empty one if it was not measured."""
        return next((row for row in self.rows if row.name == name), Row(name))

    def ratio(self, name: str) -> float | None:
        """Ratio of the baseline to that row; above 1, the baseline is better."""
        ours, theirs = self.row(self.baseline).median(self.figure), self.row(name).median(self.figure)
        if not ours or not theirs:
            return None
        return theirs / ours if self.lower_is_better else ours / theirs

    def as_json(self) -> dict[str, Any]:
        """All measurements, with medians and ratios."""
        document = asdict(self)
        for row in document["rows"]:
            source = self.row(row["name"])
            row["median"], row["spread"] = source.median(self.figure), source.spread(self.figure)
            row["ratio"] = self.ratio(row["name"])
        return document
