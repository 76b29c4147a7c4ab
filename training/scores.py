"""Collects the scores of several seeds of each data set, beside baselines and published scores.

runs/<data>/seed-<n>/metrics.json ─ gather ─ scores.json ─ write ─ scores.md, scores.png
                                                │   ↑
                                               renew: data sets without runs here
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training import baselines, data, run
from training.config import Config
from training.data.dataset import DataSet, hold_out
from training.elsewhere import Elsewhere
from training.scored import Measures, Scored, Scores, ScoresError
from training.versions import package_versions


def gather(runs: Path) -> list[Scored]:
    """Read every folder of finished seeds below `runs`, by name. Raises ScoresError, FetchError.

    Runs on a user's own table are skipped: there are no other scores to compare with.
    """
    return [_scored(folder) for folder in _folders(runs)]


def _folders(runs: Path) -> list[Path]:
    seeds = sorted(path.parent for path in runs.glob(f"*/seed-*/{run.METRICS_FILE}"))
    folders = sorted({seed.parent for seed in seeds if Config.read(seed).table is None})
    if not folders:
        raise ScoresError(
            f"{runs}/*/seed-*: no finished runs; create some with `cellgate-train train DATA --seeds 5`"
        )
    return folders


def collect(
    runs: Path,
    *,
    earlier: Scores | None = None,
    renews: bool = True,
    others: Mapping[str, Path] | None = None,
) -> Scores:
    """The scores of all runs, and, renewed, the `earlier` ones of data sets without runs here.

    Without `renews` these stay as they are. `others`: by name, the folders of the same runs on other
    processors; the earlier ones of other names stay. Raises ScoresError, FetchError.
    """
    sets = {scored.name: scored for scored in gather(runs)}
    for old in earlier.sets if earlier else ():
        if new := sets.get(old.name):
            sets[old.name] = new.model_copy(update={"elsewhere": old.elsewhere})
        else:
            sets[old.name] = renew(old) if renews else old
    for where, others_runs in (others or {}).items():
        for folder in _folders(others_runs):
            name = Config.read(_seeds(folder)[0]).data
            if name not in sets:
                raise ScoresError(f"{folder}: there are no scores of {name} to compare with")
            sets[name] = _beside(sets[name], folder, where)
    return Scores(sets=[sets[name] for name in sorted(sets)])


def _beside(scored: Scored, folder: Path, where: str) -> Scored:
    """The scores with those of another processor, `where`. Raises ScoresError for another command."""
    seeds = _seeds(folder)
    if (command := _command(seeds)) != scored.command:
        raise ScoresError(f"{folder}: the runs are of {command!r}, not of {scored.command!r}")
    loaded = data.load_for(Config.read(seeds[0]))
    scores = [_test_scores(loaded, run.read_metrics(seed)) for seed in seeds]
    processor = run.read_environment(seeds[0]).get("processor", "")
    new = Elsewhere(where=where, processor=processor, seeds=scores)
    others = [one for one in scored.elsewhere if one.where != where]
    return scored.model_copy(update={"elsewhere": [*others, new]})


def _seeds(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"seed-*/{run.METRICS_FILE}"))


def _command(seeds: list[Path]) -> str:
    return f"{run.command(Config.read(seeds[0]))} --seeds {len(seeds)}"


def renew(scored: Scored) -> Scored:
    """Renew descriptions, baselines and published scores, which need no runs. Raises FetchError."""
    if scored.name not in data.names():  # a user's own table
        return scored
    return scored.model_copy(update=_facts(data.load(scored.name), data.about(scored.name)))


def measures(loaded: DataSet) -> tuple[str, ...]:
    """The names of the scores that a data set is compared by."""
    if loaded.task == "regress":
        return tuple(
            f"{score}_{label}".replace(" ", "") for label in loaded.labels for score in ("error", "r2")
        )
    if loaded.task == "multilabel":
        return ("micro_f1", "macro_f1")
    if loaded.forecast is None:
        return ("bits",) if loaded.task == "language" else ("accuracy",)
    names = (f"{series}_{horizon}" for series in loaded.labels for horizon in loaded.forecast.names)
    return tuple(f"error_{name}".replace(" ", "") for name in names)


def _scored(folder: Path) -> Scored:
    seeds = _seeds(folder)
    all_metrics = [run.read_metrics(seed) for seed in seeds]
    config = Config.read(seeds[0])
    loaded = data.load_for(config)
    weights = torch.load(seeds[0] / run.WEIGHTS_FILE, weights_only=True)
    environment = run.read_environment(seeds[0])
    num_train, num_validation = _sizes(loaded, config)
    return Scored(
        name=loaded.name,
        num_train=num_train,
        num_validation=num_validation,
        num_test=len(loaded.test),
        num_parameters=sum(tensor.numel() for tensor in weights.values()),
        num_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
        command=_command(seeds),
        versions=environment.get("versions") or package_versions(),
        processor=environment.get("processor", ""),
        seconds=[metrics["seconds"] for metrics in all_metrics],
        seeds=[_test_scores(loaded, metrics) for metrics in all_metrics],
        **_facts(loaded, data.about(config.data)),
    )


def _facts(loaded: DataSet, about: str) -> dict[str, Any]:
    """The fields of a data set that need no run."""
    return {
        "title": loaded.title,
        "task": loaded.task,
        "about": about,
        "citation": loaded.citation,
        "license": loaded.license,
        "baselines": {name: _compared(loaded, scores) for name, scores in baselines.measure(loaded).items()},
        "published": list(loaded.published),
        "beside": loaded.beside,
    }


def _test_scores(loaded: DataSet, metrics: Measures) -> Measures:
    """Those of the metrics of a run that its data set is compared by."""
    return _compared(loaded, {name.removeprefix("test_"): value for name, value in metrics.items()})


def _compared(loaded: DataSet, scores: Measures) -> Measures:
    """The scores that a data set is compared by; bits are per character."""
    share = loaded.token_length if loaded.task == "language" else 1.0
    return {name: scores[name] / share for name in measures(loaded) if name in scores}


def _sizes(loaded: DataSet, config: Config) -> tuple[int, int]:
    """The number of sequences for training and for validation."""
    if loaded.validation is not None:
        return len(loaded.train), len(loaded.validation)
    train, validation = hold_out(loaded.train, share=config.recipe.validation, seed=config.seed)
    return len(train), len(validation)
