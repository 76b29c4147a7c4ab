"""Collects the scores of several seeds of each data set, beside baselines and published scores.

runs/<data>/seed-<n>/metrics.json ─ gather ─ scores.json ─ write ─ scores.md, scores.png
                                                │   ↑
                                               renew: data sets without runs here
"""

from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from training import baselines, data, run
from training.config import Config
from training.data.dataset import DataSet, Published, hold_out
from training.errors import TrainingError
from training.markdown import wrap
from training.versions import package_versions

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
    versions: dict[str, str]  # when the scores were collected; the runs do not record theirs
    seconds: list[float]
    seeds: list[Measures]  # the scores of each seed, named by `measures`
    baselines: dict[str, Measures]
    published: list[Published]
    beside: str = ""  # the data set that it is compared with

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


def gather(runs: Path) -> list[Scored]:
    """Read every folder of finished seeds below `runs`, by name. Raises ScoresError, FetchError.

    Runs on a user's own table are skipped: there are no other scores to compare with.
    """
    seeds = sorted(path.parent for path in runs.glob(f"*/seed-*/{run.METRICS_FILE}"))
    folders = sorted({seed.parent for seed in seeds if Config.read(seed).table is None})
    if not folders:
        raise ScoresError(
            f"{runs}/*/seed-*: no finished runs; create some with `cellgate-train train DATA --seeds 5`"
        )
    return [_scored(folder) for folder in folders]


def collect(runs: Path, *, earlier: Scores | None = None) -> Scores:
    """The scores of all runs, and, renewed, the `earlier` ones of data sets without runs here.

    Raises ScoresError, FetchError.
    """
    sets = {scored.name: scored for scored in gather(runs)}
    if earlier is not None:
        sets |= {scored.name: renew(scored) for scored in earlier.sets if scored.name not in sets}
    return Scores(sets=[sets[name] for name in sorted(sets)])


def renew(scored: Scored) -> Scored:
    """Renew descriptions, baselines and published scores, which need no runs. Raises FetchError."""
    if scored.name not in data.names():  # a user's own table
        return scored
    return scored.model_copy(update=_facts(data.load(scored.name), data.about(scored.name)))


def read(path: Path) -> Scores:
    """Read `scores.json`. Raises ScoresError."""
    try:
        return Scores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ScoresError(f"{path}: {error}") from error


def measures(loaded: DataSet) -> tuple[str, ...]:
    """The names of the scores that a data set is compared by."""
    if loaded.task == "regress":
        return tuple(
            f"{score}_{label}".replace(" ", "") for label in loaded.labels for score in ("error", "r2")
        )
    if loaded.forecast is None:
        return ("bits",) if loaded.task == "language" else ("accuracy",)
    names = (f"{series}_{horizon}" for series in loaded.labels for horizon in loaded.forecast.names)
    return tuple(f"error_{name}".replace(" ", "") for name in names)


def higher_is_better(measure: str) -> bool:
    """Whether a score is an accuracy or a share that is explained, not an error or bits."""
    return measure.startswith(("accuracy", "r2_"))


def _scored(folder: Path) -> Scored:
    seeds = sorted(path.parent for path in folder.glob(f"seed-*/{run.METRICS_FILE}"))
    all_metrics = [run.read_metrics(seed) for seed in seeds]
    config = Config.read(seeds[0])
    loaded = data.load_for(config)
    weights = torch.load(seeds[0] / run.WEIGHTS_FILE, weights_only=True)
    num_train, num_validation = _sizes(loaded, config)
    return Scored(
        name=loaded.name,
        num_train=num_train,
        num_validation=num_validation,
        num_test=len(loaded.test),
        num_parameters=sum(tensor.numel() for tensor in weights.values()),
        num_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
        command=f"{run.command(config)} --seeds {len(seeds)}",
        versions=package_versions(),
        seconds=[metrics["seconds"] for metrics in all_metrics],
        seeds=[
            _compared(loaded, {name.removeprefix("test_"): value for name, value in metrics.items()})
            for metrics in all_metrics
        ],
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


def shares(scores: Scores) -> list[tuple[str, list[float]]]:
    """By data set and score: the error of each seed, relative to the best baseline's."""
    rows = []
    for scored in scores.sets:
        for measure in scored.seeds[0]:
            _, best = scored.best_baseline(measure)
            ours = scored.ours(measure)
            if higher_is_better(measure):
                best, ours = 1 - best, [1 - value for value in ours]
            rows.append((f"{scored.name}: {_words(measure)}", [value / best for value in ours]))
    return rows


def write(scores: Scores) -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    parts += [_row(scored, measure) for scored in scores.sets for measure in scored.seeds[0]]
    worse = [name for name, errors in shares(scores) if median(errors) > 1]
    if worse:
        parts.append(f"\n{WORSE} {'; '.join(worse)}.\n")
    for scored in scores.sets:
        parts.append(_section(scored, [other for other in scores.sets if other.beside == scored.name]))
    return wrap("".join(parts))


HEAD = """# Scores

Written by `cellgate-train scores` from the run folders, never by hand. All scores are of the test part, which
each training evaluates once, at its end. Recipes were compared by validation alone; where a recipe replaced
another whose test scores were already known, the data set says so. Our scores are medians over seeds, with
the lowest and the highest. Each training ran on one thread of a shared machine.

![our errors relative to the best baseline](scores.png)

| data | score | ours | best baseline |
|---|---|---|---|
"""
WORSE = "**The best baseline is better than ours** by the median in:"


def _row(scored: Scored, measure: str) -> str:
    name, value = scored.best_baseline(measure)
    cells = [f"[{scored.title}](#{scored.name})", _words(measure), _spread(scored, measure)]
    return f"| {' | '.join(cells)} | {_short(value)}, {name} |\n"


def _section(scored: Scored, yardsticks: list[Scored]) -> str:
    rows = list(scored.seeds[0])
    table = [["", *map(_words, rows)], ["---"] * (len(rows) + 1)]
    table += [[f"**ours**, {len(scored.seeds)} seeds", *(_spread(scored, measure) for measure in rows)]]
    for other in yardsticks:
        spreads = (_spread(other, measure) for measure in rows)
        table.append([f"[{other.title}](#{other.name}), {len(other.seeds)} seeds", *spreads])
    for name, scores in scored.baselines.items():
        table.append([name, *(_short(scores[m]) if m in scores else "" for m in rows)])
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    published = "".join(f"- {one.what}: {one.score} ({one.source})\n" for one in scored.published)
    if published:
        published = f"\nPublished:\n\n{published}"
    return f"""
## {scored.name}

{scored.about}

{lines}
{published}
`{scored.command}`: {median(scored.seconds):.0f} s per seed. Collected with
{", ".join(f"{name} {of}" for name, of in scored.versions.items())}.

{scored.num_parameters:,} parameters, {scored.num_bytes / 1000:,.0f} kB. {scored.num_train:,} sequences for
training, {scored.num_validation:,} for validation, {scored.num_test:,} for the test.

{scored.citation}. {scored.license}.
"""


def _words(measure: str) -> str:
    return (
        measure.replace("error_", "RMSE ")
        .replace("r2_", "R² ")
        .replace("_", " ")
        .replace("bits", "bits per character")
    )


def _spread(scored: Scored, measure: str) -> str:
    ours = scored.ours(measure)
    return f"**{_short(median(ours))}** ({_short(ours[0])} to {_short(ours[-1])})"


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.4g}"
