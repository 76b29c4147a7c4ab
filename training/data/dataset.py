"""What every data set is turned into: sequences and targets, in a training and a test part."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Sequence = NDArray[np.float32]  # [time, columns]; a token id is a whole number, exact below 2^24
Task = Literal["classify", "label", "forecast", "language"]
UNKNOWN = -1  # the class of a step that nobody labelled; an unknown number is NaN


@dataclass(frozen=True)
class Input:
    """One named input of a time step. In a sequence the columns of several lie side by side."""

    name: str = "x"
    kind: Literal["numeric", "token", "image", "video"] = "numeric"
    features: tuple[str, ...] = ()  # a name for each number of a step
    units: tuple[str, ...] = ()  # likewise; empty: unstated
    vocabulary: tuple[str, ...] = ()  # kind token: what each id stands for
    tokenizer: str | None = None  # kind token: what makes ids of a text, as `training.data.tokens` gives it
    unknown: int | None = None  # kind token: the id of what is not in the vocabulary; None: that is refused
    missing: int | None = None  # kind token: the id of nothing; None: that is refused
    tensor: str | None = None  # what the graph calls it, where it cannot be its name
    frame: tuple[int, int] = (0, 0)  # kind video: height and width; a row of a frame after the other
    projection: int = 0  # width that a step is projected to by a learnt layer; 0: the recipe's
    has_gaps: bool = False  # whether a number may be missing, which is NaN

    @property
    def in_graph(self) -> str:
        """What the graph calls it; the names of all that is made from it begin so."""
        return self.name if self.tensor is None else self.tensor

    @property
    def columns(self) -> int:
        """How many columns of a sequence are this input's."""
        if self.kind == "video":
            return self.frame[0] * self.frame[1]
        return 1 if self.kind == "token" else len(self.features)


@dataclass(frozen=True)
class Forecast:
    """What is foretold at every step, and how sure one may be of it."""

    columns: tuple[int, ...]  # which columns of a sequence, all of the first input
    horizons: tuple[int, ...]  # steps ahead
    names: tuple[str, ...]  # of the horizons: "+1 h"
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.95)
    season: int = 0  # the seasonal baseline says what was so many steps before; 0: there is none


@dataclass(frozen=True)
class Split:
    """Sequences of different lengths, each with what is to be said of it."""

    sequences: tuple[Sequence, ...]
    targets: NDArray[Any]  # [sequences]: classes; or, if every step has a target, objects (`each_step`)

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
        """The part of the split that `rows` point at, in their order."""
        return type(self)(tuple(self.sequences[row] for row in rows), self.targets[rows])


@dataclass(frozen=True)
class DataSet:
    """A named data set with its official split, and what its licence asks us to say."""

    name: str
    title: str
    citation: str
    license: str
    inputs: tuple[Input, ...]
    labels: tuple[str, ...]  # the classes; the series that are foretold
    train: Split
    test: Split
    task: Task = "classify"
    validation: Split | None = None  # None: a share of the training part
    forecast: Forecast | None = None  # of the task forecast
    published: tuple["Published", ...] = field(default=())
    token_length: float = 1.0  # of the task language: characters that a token of the test part stands for
    beside: str = ""  # the data set whose scores it is shown beside: the same test part, told otherwise

    @property
    def out(self) -> int:
        """How many numbers are said of a step."""
        told = self.forecast
        return len(self.labels) * (len(told.horizons) * len(told.quantiles) if told else 1)


@dataclass(frozen=True)
class Published:
    """A score that somebody else reached on the same split."""

    what: str
    score: str
    source: str


def each_step(targets: list[NDArray[Any]]) -> NDArray[Any]:
    """Targets of sequences that have one at every step, each [time, …], as an array of objects."""
    rows = np.empty(len(targets), dtype=object)
    rows[:] = targets
    return rows


def hold_out(split: Split, *, share: float, seed: int) -> tuple[Split, Split]:
    """Part a split in two, (kept, held out), each class giving up the same `share`; at least one sequence.

    Sequences with a target at every step are all of one class here.
    """
    rng = np.random.default_rng(seed)
    classes = np.zeros(len(split), np.int64) if split.targets.dtype == object else split.targets
    held: list[int] = []
    for target in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == target))
        held.extend(rows[: max(1, round(share * len(rows)))].tolist())
    is_held = np.zeros(len(split), dtype=bool)
    is_held[held] = True
    return split.take(np.flatnonzero(~is_held)), split.take(np.flatnonzero(is_held))
