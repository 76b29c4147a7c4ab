"""Gathers what several seeds of each data set came to, and writes it beside baselines and published scores.

runs/<data>/seed-<n>/metrics.json ─ gather ─ scores.json ─ write ─ scores.md, scores.png
                                                │   ↑
                                               renew: of data sets whose runs lie elsewhere
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
from training.export.manifest import versions

Measures = dict[str, float]


class ScoresError(TrainingError):
    """There is nothing to gather."""


class Scored(BaseModel):
    """All that is told of one data set."""

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
    num_bytes: int  # of the weights, as they are stored
    command: str
    versions: dict[str, str]  # of what gathered the seeds; the runs do not say theirs
    seconds: list[float]
    seeds: list[Measures]  # the measures of each, those of `measures` and no others
    baselines: dict[str, Measures]
    published: list[Published]
    beside: str = ""  # the data set that it is a yardstick of

    @property
    def higher_is_better(self) -> bool:
        """Of its measures: accuracies are, errors and bits are not."""
        return "accuracy" in self.seeds[0]

    def ours(self, measure: str) -> list[float]:
        """A measure of every seed, the smallest first."""
        return sorted(seed[measure] for seed in self.seeds)

    def best_baseline(self, measure: str) -> tuple[str, float]:
        """The best of those that have it."""
        having = {name: found[measure] for name, found in self.baselines.items() if measure in found}
        choose = max if self.higher_is_better else min
        name = choose(having, key=having.__getitem__)
        return name, having[name]


class Scores(BaseModel):
    """`scores.json`: what the page is written from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sets: list[Scored]


def gather(runs: Path) -> list[Scored]:
    """Every folder of finished seeds of a data set below `runs`, by name. Raises ScoresError, FetchError.

    Runs on tables of one's own are left out: nobody else has a score on these.
    """
    seeds = sorted(path.parent for path in runs.glob(f"*/seed-*/{run.METRICS_FILE}"))
    folders = sorted({seed.parent for seed in seeds if Config.read(seed).table is None})
    if not folders:
        raise ScoresError(
            f"{runs}/*/seed-*: no finished runs; `cellgate-train train DATA --seeds 5` makes them"
        )
    return [_scored(folder) for folder in folders]


def collect(runs: Path, *, kept: Scores | None = None) -> Scores:
    """What `scores.json` holds: the data sets of the runs, and those `kept` that have none here, renewed.

    Raises ScoresError, FetchError.
    """
    sets = {scored.name: scored for scored in gather(runs)}
    if kept is not None:
        sets |= {scored.name: renew(scored) for scored in kept.sets if scored.name not in sets}
    return Scores(sets=[sets[name] for name in sorted(sets)])


def renew(scored: Scored) -> Scored:
    """All of it that needs no runs, made anew: words, baselines, published scores. Raises FetchError."""
    if scored.name not in data.names():  # a table of somebody's own
        return scored
    return scored.model_copy(update=_told(data.load(scored.name), data.about(scored.name)))


def read(path: Path) -> Scores:
    """`scores.json` again. Raises ScoresError."""
    try:
        return Scores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ScoresError(f"{path}: {error}") from error


def measures(loaded: DataSet) -> tuple[str, ...]:
    """What a data set is compared by."""
    if loaded.forecast is None:
        return ("bits",) if loaded.task == "language" else ("accuracy",)
    names = (f"{series}_{when}" for series in loaded.labels for when in loaded.forecast.names)
    return tuple(f"error_{name}".replace(" ", "") for name in names)


def _scored(folder: Path) -> Scored:
    seeds = sorted(path.parent for path in folder.glob(f"seed-*/{run.METRICS_FILE}"))
    found = [run.read_metrics(seed) for seed in seeds]
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
        versions=versions(),
        seconds=[metrics["seconds"] for metrics in found],
        seeds=[
            _compared(loaded, {name.removeprefix("test_"): value for name, value in metrics.items()})
            for metrics in found
        ],
        **_told(loaded, data.about(config.data)),
    )


def _told(loaded: DataSet, about: str) -> dict[str, Any]:
    """What is known of a data set without any run."""
    return {
        "title": loaded.title,
        "task": loaded.task,
        "about": about,
        "citation": loaded.citation,
        "license": loaded.license,
        "baselines": {name: _compared(loaded, told) for name, told in baselines.measure(loaded).items()},
        "published": list(loaded.published),
        "beside": loaded.beside,
    }


def _compared(loaded: DataSet, told: Measures) -> Measures:
    """Those of the measures that a data set is compared by; bits are those of a character."""
    share = loaded.token_length if loaded.task == "language" else 1.0
    return {name: told[name] / share for name in measures(loaded) if name in told}


def _sizes(loaded: DataSet, config: Config) -> tuple[int, int]:
    """How many sequences are learnt from, and how many validate."""
    if loaded.validation is not None:
        return len(loaded.train), len(loaded.validation)
    kept, held = hold_out(loaded.train, share=config.recipe.validation, seed=config.seed)
    return len(kept), len(held)


def shares(scores: Scores) -> list[tuple[str, list[float]]]:
    """By data set and measure: the error of each seed, the best baseline's being 1."""
    found = []
    for scored in scores.sets:
        for measure in scored.seeds[0]:
            _, best = scored.best_baseline(measure)
            ours = scored.ours(measure)
            if scored.higher_is_better:
                best, ours = 1 - best, [1 - value for value in ours]
            found.append((f"{scored.name}: {_words(measure)}", [value / best for value in ours]))
    return found


def write(scores: Scores) -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    parts += [_row(scored, measure) for scored in scores.sets for measure in scored.seeds[0]]
    worse = [name for name, errors in shares(scores) if median(errors) > 1]
    if worse:
        parts.append(f"\n{WORSE} {'; '.join(worse)}.\n")
    for scored in scores.sets:
        parts.append(_section(scored, [other for other in scores.sets if other.beside == scored.name]))
    return "".join(parts)


HEAD = """# Scores

Written by `cellgate-train scores`, from the folders of the runs; never by hand. Every figure is of the test
part, which each training is measured on once, at its end. Recipes were compared by validation alone; where
one replaced another after that one's test figures had been seen, the data set says so. Ours are medians over
seeds, with the lowest and the highest. A training runs on one thread; its seconds are those of a shared
machine.

![ours beside the best baseline](scores.png)

| data | measure | ours | the best baseline |
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
        told = (_spread(other, measure) for measure in rows)
        table.append([f"[{other.title}](#{other.name}), {len(other.seeds)} seeds", *told])
    for name, found in scored.baselines.items():
        table.append([name, *(_short(found[m]) if m in found else "" for m in rows)])
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    published = "".join(f"- {told.what}: {told.score} ({told.source})\n" for told in scored.published)
    if published:
        published = f"\nOthers:\n\n{published}"
    return f"""
## {scored.name}

{scored.about}

{lines}
{published}
`{scored.command}`: {median(scored.seconds):.0f} s a seed. Gathered with
{", ".join(f"{name} {of}" for name, of in scored.versions.items())}.

{scored.num_parameters:,} parameters, {scored.num_bytes / 1000:,.0f} kB. {scored.num_train:,} sequences to
learn from, {scored.num_validation:,} for validation, {scored.num_test:,} to be measured on.

{scored.citation}. {scored.license}.
"""


def _words(measure: str) -> str:
    return measure.replace("error_", "RMSE ").replace("_", " ").replace("bits", "bits a character")


def _spread(scored: Scored, measure: str) -> str:
    ours = scored.ours(measure)
    return f"**{_short(median(ours))}** ({_short(ours[0])} to {_short(ours[-1])})"


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.4g}"
