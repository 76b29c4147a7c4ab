"""The scores of data sets: the content of `scores.json`. Knows no run and no page."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.data.dataset import Published
from training.elsewhere import Elsewhere
from training.errors import TrainingError

Measures = dict[str, float]


class ScoresError(TrainingError):
    """There are no scores to read."""


class Scored(BaseModel):
    """One data set with its scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    task: str
    about: str
    citation: str
    license: str
    num_train: int
    num_validation: int
    num_test: int
    num_parameters: int
    num_bytes: int  # of the stored weights
    command: str
    versions: dict[str, str]  # of the runs; of older ones, which do not record theirs, of the collection
    processor: str = ""  # as the runs recorded it
    seconds: list[float]
    seeds: list[Measures]  # the scores of each seed, named by `measures`
    baselines: dict[str, Measures]
    published: list[Published]
    beside: str = ""  # the data set that it is compared with
    elsewhere: list[Elsewhere] = []

    def ours(self, measure: str) -> list[float]:
        """One score of every seed, in ascending order."""
        return sorted(seed[measure] for seed in self.seeds)

    def best_baseline(self, measure: str) -> tuple[str, float]:
        """The name and the score of the best baseline that has this score."""
        by_name = {name: scores[measure] for name, scores in self.baselines.items() if measure in scores}
        choose = max if higher_is_better(measure) else min
        name = choose(by_name, key=by_name.__getitem__)
        return name, by_name[name]


class Scores(BaseModel):
    """The content of `scores.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sets: list[Scored]


def higher_is_better(measure: str) -> bool:
    """Whether a score is an accuracy, an F1 or a share that is explained, not an error or bits."""
    return measure.startswith(("accuracy", "r2_", "micro_f1", "macro_f1"))


def read(path: Path) -> Scores:
    """Read `scores.json`. Raises ScoresError."""
    try:
        return Scores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ScoresError(f"{path}: {error}") from error
