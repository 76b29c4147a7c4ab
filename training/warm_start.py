"""Starts a run with the weights of a finished one. Knows no training loop.

A network knows its inputs and outputs by their places alone. So a run keeps what each place means in
`interface.json`, and a run that starts with its weights must mean the same.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from training import data
from training.config import WEIGHTS_FILE, Config, WarmStart
from training.data.dataset import DataSet, Input
from training.data.table import fingerprint
from training.errors import TrainingError

INTERFACE_FILE = "interface.json"  # in a run folder
LATER = {
    "per": "step",
    "is_ahead": False,
}  # fields of an input that older runs do not know, and what these mean by it
SHAPE = ("cell", "hidden", "layers", "projection", "pool", "embedding", "tie", "zoneout", "input_projection")

Interface = dict[str, Any]
Weights = dict[str, Tensor]


class WarmStartError(TrainingError):
    """The weights of the named run do not belong into the network of this one."""


def source(folder: Path) -> WarmStart:
    """The finished run in a folder, as it is now. Raises TrainingError."""
    return WarmStart(run=str(folder), sha256=fingerprint(folder / WEIGHTS_FILE))


def keep_interface(loaded: DataSet, folder: Path) -> None:
    """Write into a run folder what the inputs and outputs of its network are."""
    (folder / INTERFACE_FILE).write_text(json.dumps(_interface(loaded), indent=1) + "\n")


def read_weights(config: Config, loaded: DataSet, network: nn.Module) -> Weights | None:
    """The weights to start with, the normalisation included; None: those of a new network.

    `network`: the one to start, which then has them. Raises WarmStartError, if the network of that run has
    other inputs, outputs or another shape, or if its weights have changed; FetchError and TableError, if an
    older run's data cannot be read.
    """
    if config.warm_start is None:
        return None
    folder, flag = Path(config.warm_start.run), f"--from {config.warm_start.run}"
    if fingerprint(folder / WEIGHTS_FILE) != config.warm_start.sha256:
        raise WarmStartError(f"{flag}: {WEIGHTS_FILE} has changed since this run was started")
    recipe = _config_of(folder).recipe
    for name in SHAPE:
        theirs, ours = getattr(recipe, name), getattr(config.recipe, name)
        if theirs != ours:
            raise WarmStartError(
                f"{flag}: --{name.replace('_', '-')} is {theirs} in that run, {ours} in this one"
            )
    if difference := _difference(_kept_interface(folder), _interface(loaded)):
        raise WarmStartError(f"{flag}: {difference}")
    weights: Weights = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # what torch raises where names or shapes differ
        raise WarmStartError(
            f"{flag}: {WEIGHTS_FILE} belongs to another network than this version of cellgate builds; train "
            "that run again"
        ) from error
    return weights


def origin(config: Config, loaded: DataSet) -> str:
    """What a run started with, and which of its scores may therefore be too good; "" for a new network."""
    if config.warm_start is None:
        return ""
    run, theirs = config.warm_start.run, _config_of(Path(config.warm_start.run))
    text = (
        f"started with the weights and the normalisation of {run} (SHA-256 {config.warm_start.sha256[:16]})"
    )
    if _parts_of(theirs) != _parts_of(config):
        return (
            f"{text}, which learnt other data: the scores are too good if any of them are in the validation "
            "or test part of this run"
        )
    is_same = (theirs.seed, theirs.recipe.validation) == (config.seed, config.recipe.validation)
    if loaded.validation is None and not is_same:
        return (
            f"{text}, which learnt some sequences of this run's validation part (another --seed or "
            "--validation): the validation loss is too low"
        )
    return text


def _config_of(folder: Path) -> Config:
    try:
        return Config.read(folder)
    except (OSError, ValidationError) as error:
        raise WarmStartError(f"--from {folder}: its configuration cannot be read: {error}") from error


def _parts_of(config: Config) -> tuple[Any, ...]:
    """What decides the parts of the data, wherever their files are."""
    table = config.table and config.table.model_copy(update={"path": "", "test_data": None})
    return config.data if table is None else "", table


def _interface(loaded: DataSet) -> Interface:
    """What the places of a network mean, as JSON gives it back."""
    forecast = loaded.forecast and {
        "series": [loaded.inputs[0].features[column] for column in loaded.forecast.columns],
        "horizons": loaded.forecast.horizons,
        "times": loaded.forecast.names,
        "quantiles": loaded.forecast.quantiles,
    }
    whole: Interface = {
        "task": loaded.task,
        "whole sequences": loaded.is_whole,
        "inputs": {one.name: _fields(one) for one in loaded.inputs},
        "labels": loaded.labels,
        "forecast": forecast,
    }
    if loaded.quantiles:
        whole["quantiles"] = loaded.quantiles
    back: Interface = json.loads(json.dumps(whole))
    return back


def _fields(input_: Input) -> dict[str, Any]:
    """The fields of an input; without those that older runs do not know, where they have no effect."""
    fields = asdict(input_)
    return {name: value for name, value in fields.items() if (name, value) not in LATER.items()}


def _kept_interface(folder: Path) -> Interface:
    """Of a finished run; one from before the file existed has its data read again."""
    try:
        kept: Interface = json.loads((folder / INTERFACE_FILE).read_text())
    except FileNotFoundError:
        return _interface(data.load_for(_config_of(folder)))
    except ValueError as error:
        raise WarmStartError(f"{folder / INTERFACE_FILE}: {error}") from error
    return kept


def _difference(theirs: Any, ours: Any, place: str = "") -> str | None:
    """The first difference, in words; None if there is none."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if list(theirs) != list(ours):
            return f"{place or 'the run'} has {_names(theirs)} in that run, {_names(ours)} in this one"
        below = (_difference(theirs[name], ours[name], f"{place} {name}".strip()) for name in theirs)
        return next((one for one in below if one), None)
    if theirs == ours:
        return None
    if not (isinstance(theirs, list) and isinstance(ours, list)):
        return f"{place} is {_short(theirs)} in that run, {_short(ours)} in this one"
    lost, new = (
        [one for one in these if one not in those] for these, those in ((theirs, ours), (ours, theirs))
    )
    if not (lost or new):
        return f"{place} are in another order: {_names(theirs)} in that run, {_names(ours)} in this one"
    parts = (
        f"{_names(names)} only in {which} run" for names, which in ((lost, "that"), (new, "this")) if names
    )
    return f"{place} differ: {', '.join(parts)}"


def _names(names: Any, most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return f"{shown}, and {len(names) - most} more" if len(names) > most else shown or "none"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
