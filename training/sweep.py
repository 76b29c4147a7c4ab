"""Tries recipes with Optuna and ranks them on the validation part. Never reads the test part.

A trial's recipe is a function of the seed and of the trials before it, and each trial writes its outcome into
a folder of its own. So the same command resumes an interrupted sweep, and a longer sweep extends a shorter
one.
"""

import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import TypeAdapter, ValidationError

from training import data, devices, loop
from training.config import CONFIG_FILE, Config, Recipe
from training.data.dataset import DataSet
from training.errors import TrainingError

OUTCOME_FILE = "outcome.json"
LOG_FROM = 10.0  # a range that spans at least this factor is searched on a logarithmic scale

Space = Mapping[str, BaseDistribution]


class SweepError(TrainingError):
    """A value to try is invalid, or the folder holds another sweep."""


@dataclass(frozen=True)
class Trial:
    """One recipe and its result."""

    number: int
    tried: dict[str, Any]  # by field of the recipe
    config: Config
    loss: float  # on the validation part, at the best epoch


def read_space(options: tuple[str, ...]) -> Space:
    """Parse `hidden=32,64,128` (a list) and `learning_rate=1e-4..1e-2` (a range). Raises SweepError."""
    space: dict[str, BaseDistribution] = {}
    for text in options:
        name, equals, values = text.partition("=")
        field = name.strip().replace("-", "_")
        if field not in Recipe.model_fields or not equals:
            fields = ", ".join(Recipe.model_fields)
            raise SweepError(f"{text!r}: expected FIELD=VALUES with a field of the recipe, one of {fields}")
        low, dots, high = values.partition("..")
        space[field] = (
            _between(field, low, high)
            if dots
            else CategoricalDistribution([_value(field, value) for value in values.split(",")])
        )
    if not space:
        raise SweepError("nothing to try; for example: --try hidden=32,64,128")
    return space


def sweep(
    config: Config, space: Space, folder: Path, *, count: int, loaded: DataSet | None = None
) -> Iterator[Trial]:
    """Train `count` recipes, skipping finished ones, and yield a Trial for each.

    `loaded`: the data of the configuration, if they were read already.
    Raises SweepError, FetchError, CellError, DeviceError, Interrupted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    devices.check(config)
    loaded = loaded or data.load_for(config)
    study = optuna.create_study(direction="minimize")
    for number in range(count):
        study.sampler = optuna.samplers.TPESampler(seed=config.seed + number)
        proposal = study.ask(dict(space))
        trial_config = config.model_copy(update={"recipe": _changed(config.recipe, proposal.params)})
        loss = _validation_loss(trial_config, loaded, folder / f"trial-{number:03}")
        if math.isfinite(loss):
            study.tell(proposal, loss)
        else:
            study.tell(proposal, state=optuna.trial.TrialState.FAIL)
        yield Trial(number, proposal.params, trial_config, loss)


def ranked(trials: list[Trial]) -> list[Trial]:
    """The trials by loss, the best first; diverged ones last."""
    return sorted(trials, key=lambda trial: (not math.isfinite(trial.loss), trial.loss))


def write(trials: list[Trial], path: Path) -> None:
    """Write the trials as CSV, in this order."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["trial", *trials[0].tried, "validation_loss"])
        writer.writeheader()
        writer.writerows(
            {"trial": trial.number, **trial.tried, "validation_loss": trial.loss} for trial in trials
        )


def _validation_loss(config: Config, loaded: DataSet, place: Path) -> float:
    if (place / CONFIG_FILE).is_file() and Config.read(place) != config:
        raise SweepError(f"{place} belongs to another sweep; --out names another folder")
    outcome = place / OUTCOME_FILE
    if outcome.is_file():
        return float(json.loads(outcome.read_text())["validation_loss"])
    place.mkdir(parents=True, exist_ok=True)
    config.write(place)
    rows = loop.fit(config, loop.new_network(config, loaded), loaded, place, show=False)
    losses = [row["validation_loss"] for row in rows]
    loss = min(losses) if config.recipe.patience else losses[-1]
    outcome.write_text(json.dumps({"validation_loss": loss, "epochs": len(rows)}) + "\n")
    shutil.rmtree(place / loop.CHECKPOINTS)
    return loss


def _changed(recipe: Recipe, tried: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(recipe.model_dump() | tried)
    except ValidationError as error:
        first = error.errors()[0]
        raise SweepError(f"{first['loc'][0]}={first['input']!r}: {first['msg']}") from error


def _between(field: str, low: str, high: str) -> BaseDistribution:
    ends = [_value(field, text) for text in (low, high)]
    if any(isinstance(end, (str, bool)) for end in ends) or ends[0] >= ends[1]:
        raise SweepError(f"{field}={low}..{high}: expected two numbers, the smaller first")
    by_magnitude = ends[0] > 0 and ends[1] / ends[0] >= LOG_FROM
    kind: Callable[..., BaseDistribution] = (
        IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
    )
    return kind(*ends, log=by_magnitude)


def _value(field: str, text: str) -> Any:
    """The value of a field, parsed and validated as in a recipe."""
    info = Recipe.model_fields[field]
    try:
        return TypeAdapter(info.rebuild_annotation()).validate_python(text.strip())
    except ValidationError as error:
        raise SweepError(f"{field}={text}: {error.errors()[0]['msg']}") from error
