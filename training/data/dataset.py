"""The form of every data set: sequences and targets, in a training and a test part. Knows no file."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.manifest import TableSpec

Sequence = NDArray[np.float32]  # [time, columns]; a token id is a whole number, exact below 2^24
Task = Literal["classify", "label", "multilabel", "regress", "forecast", "language"]
QUANTILES = (0.05, 0.5, 0.95)  # of a forecast
UNKNOWN = -1  # the class of an unlabelled step; an unknown number or label is NaN


@dataclass(frozen=True)
class Input:
    """One named input of a time step. In a sequence the columns of all inputs are side by side."""

    name: str = "x"
    kind: Literal["numeric", "token", "image", "video", "audio"] = "numeric"
    features: tuple[str, ...] = ()  # a name for each number of a step
    units: tuple[str, ...] = ()  # likewise; empty: unstated
    vocabulary: tuple[str, ...] = ()  # kind token: the token of each id
    tokenizer: str | None = None  # kind token: see `training.data.tokens`
    unknown: int | None = None  # kind token: the id of unknown tokens; None: they are refused
    missing: int | None = None  # kind token: the id of null; None: it is refused
    numbers: Literal["ids", "tokens"] = "ids"  # kind token: what a number in a request is
    tensor: str | None = None  # the name in the graph; None: `name`
    frame: tuple[int, int] = (0, 0)  # kind video: height and width; frames are flattened row by row
    samples: int = 0  # kind audio: of a step, one after the other
    sample_rate: int | None = None  # kind audio: samples a second
    projection: int = 0  # width of a learned projection; 0: the recipe's
    has_gaps: bool = False  # whether numbers may be missing (NaN)
    elapsed: int | None = None  # the column that holds the time since the previous step
    per: Literal["step", "sequence"] = "step"  # sequence: the same at all steps, and given once
    is_ahead: bool = False  # numbers of later steps, known in advance: for the head, not for the cell

    @property
    def in_graph(self) -> str:
        """The name in the graph, also the prefix of the tensors computed from this input."""
        return self.name if self.tensor is None else self.tensor

    @property
    def columns(self) -> int:
        """The number of columns in a sequence."""
        if self.kind == "video":
            return self.frame[0] * self.frame[1]
        if self.kind == "audio":
            return self.samples
        return 1 if self.kind == "token" else len(self.features)


@dataclass(frozen=True)
class Forecast:
    """The series, horizons and quantiles of a forecast."""

    columns: tuple[int, ...]  # columns of a sequence, all of the first input
    horizons: tuple[int, ...]  # steps ahead
    names: tuple[str, ...]  # of the horizons: "+1 h"
    quantiles: tuple[float, ...] = QUANTILES
    season: int = 0  # steps of a season for the seasonal baseline; 0: none


@dataclass(frozen=True)
class Split:
    """Sequences of different lengths, each with its target."""

    sequences: tuple[Sequence, ...]
    # [sequences]: classes; [sequences, targets]: numbers, or labels, each 0 or 1; if every step has a target,
    # objects (`each_step`)
    targets: NDArray[Any]
    series: "Split | None" = None  # what the sequences are windows of; None: they are not cut

    def __post_init__(self) -> None:
        if len(self.sequences) != len(self.targets):
            raise ValueError(f"{len(self.sequences)} sequences for {len(self.targets)} targets")
        if self.targets.dtype == object:
            for row, (sequence, target) in enumerate(zip(self.sequences, self.targets, strict=True)):
                if len(sequence) != len(target):
                    raise ValueError(f"sequence {row}: {len(sequence)} steps, targets for {len(target)}")

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The sequences with these numbers, in this order; they are no windows of known series."""
        return type(self)(tuple(self.sequences[row] for row in rows), self.targets[rows])


@dataclass(frozen=True)
class DataSet:
    """A named data set with its official split, and the attribution that its licence requires."""

    name: str
    title: str
    citation: str
    license: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]  # the classes or labels, the numbers to regress, or the series of a forecast
    train: Split
    test: Split
    task: Task = "classify"
    validation: Split | None = None  # None: a share of the training part
    forecast: Forecast | None = None  # of the task forecast
    quantiles: tuple[float, ...] = ()  # of the task regress, rising; empty: one estimate of each number
    published: tuple["Published", ...] = field(default=())
    token_length: float = 1.0  # of the task language: mean characters per token of the test part
    table: TableSpec | None = None  # of a table of the user's own: how it is read
    beside: str = ""  # the data set that its scores are compared with: the same test part in another form

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are probabilities of classes, one of which is true."""
        return self.task in ("classify", "label", "language")

    @property
    def has_units(self) -> bool:
        """Whether the outputs are numbers in units of their own, not probabilities."""
        return self.task in ("regress", "forecast")

    @property
    def is_whole(self) -> bool:
        """Whether a sequence has one target as a whole."""
        return self.test.targets.dtype != object

    @property
    def has_band(self) -> bool:
        """Whether numbers are predicted by several quantiles, with a band between the outer two."""
        return len(self.forecast.quantiles if self.forecast else self.quantiles) > 1

    @property
    def out(self) -> int:
        """The number of outputs at each step."""
        forecast = self.forecast
        if forecast is None:
            return len(self.labels) * max(1, len(self.quantiles))
        return len(self.labels) * len(forecast.horizons) * len(forecast.quantiles)

    def train_and_validation(self, *, share: float, seed: int) -> tuple[Split, Split]:
        """The part to train on and the validation part; without one, a `share` of the training part."""
        if self.validation is not None:
            return self.train, self.validation
        return hold_out(self.train, share=share, seed=seed)


@dataclass(frozen=True)
class Published:
    """A published score on the same split."""

    what: str
    score: str
    source: str


def each_step(targets: list[NDArray[Any]]) -> NDArray[Any]:
    """Targets at every step, each [time, …], as an array of objects."""
    rows = np.empty(len(targets), dtype=object)
    rows[:] = targets
    return rows


def hold_out(split: Split, *, share: float, seed: int) -> tuple[Split, Split]:
    """Split in two, (remaining, held out): `share` of each class is held out, at least one sequence.

    Sequences with a target at every step, or with numbers, count as one class.
    """
    has_classes = np.issubdtype(split.targets.dtype, np.integer)
    classes = split.targets if has_classes else np.zeros(len(split), np.int64)
    is_held_out = drawn(classes, share=share, seed=seed)
    return split.take(np.flatnonzero(~is_held_out)), split.take(np.flatnonzero(is_held_out))


def drawn(classes: NDArray[Any], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Which of some things, each of a class, are held out: `share` of each class, at least one of it."""
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(classes), dtype=bool)
    for each in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == each))
        is_held_out[members[: max(1, round(share * len(members)))]] = True
    return is_held_out
