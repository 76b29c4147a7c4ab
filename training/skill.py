"""Compares the scores of a network with those of baselines that need no training, on the same targets.

A forecast is compared with persistence, drift and, if the season is known, the seasonal naive methods: with
the best of them for each series and horizon on the part that is scored, which is the strictest choice.
Numbers are compared with their mean in the training part, and with a linear regression; classes with always
answering the most frequent class of the training part; tokens and labels with their frequencies there, labels
also with the majority of each, and with all of them. The skill is 1 - error / error of the baseline (as in
Murphy 1988, Monthly Weather Review 116, 2417-2424, for the root mean square error): 1 is perfect, 0 no
better, negative worse.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training import linear, naive
from training.data.dataset import DataSet, Split
from training.tasks.labels import by_label, log_loss

LOWEST = -100.0  # a baseline without any error would make the skill minus infinity
RARE = 0.8  # a class with a larger share makes the others rare
MOST_NAMED = 3  # comparisons in which the network is better, named beside those in which it is not
MAJORITIES, EVERY_LABEL = "majority of each label", "every label"
PREFIX = "baseline_"  # of the scores of baselines among the metrics of a run

Floats = NDArray[np.float64]


class Comparison(NamedTuple):
    """One score beside that of the best baseline."""

    key: str  # in `metrics.json`, after "test_skill_"
    subject: str  # the series and the horizon; or, of classes, ""
    score: str  # its name with its unit
    ours: float
    baseline: str
    theirs: float
    skill: float
    is_percent: bool = False

    @property
    def is_better(self) -> bool:
        """Whether the network beats the baseline."""
        return self.skill > 0

    def __str__(self) -> str:
        subject = f"{self.subject}, " if self.subject else ""
        return f"{subject}{self.score} {self.shown(self.ours)} against {self.shown(self.theirs)}"

    def shown(self, value: float) -> str:
        """A value of this score as text."""
        return f"{value:.2%}" if self.is_percent else f"{value:.4g}"


class Skill(NamedTuple):
    """All comparisons, the scores of all baselines, and what else the reader must know."""

    rows: list[Comparison]
    baselines: dict[str, float]  # by baseline, score and target
    notes: list[str]

    def metrics(self) -> dict[str, float]:
        """Flat, for `metrics.json`: the skills, and the scores of all baselines."""
        skills = {f"test_skill_{row.key}": row.skill for row in self.rows}
        return skills | {f"{PREFIX}{name}": value for name, value in self.baselines.items()}

    def verdict(self) -> str:
        """Whether the network beats the baselines, in one line."""
        worse = [row for row in self.rows if not row.is_better]
        names = " and ".join(dict.fromkeys(row.baseline for row in worse or self.rows))
        if not worse:
            least = min(row.skill for row in self.rows)
            return f"better than {names}: skill {least:.0%}" + (" or more" if len(self.rows) > 1 else "")
        scope = "" if len(worse) == len(self.rows) else f" in {len(worse)} of {len(self.rows)} comparisons"
        better = [row for row in self.rows if row.is_better]
        also = f"; better in {'; '.join(map(str, better[:MOST_NAMED]))}" if better else ""
        more = ", …" if len(better) > MOST_NAMED else ""
        return f"NOT better than {names}{scope}: {'; '.join(map(str, worse))}{also}{more}"


def compare(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    """The scores of a network on a split of its data set, as in `Task.score`, beside the baselines'."""
    if data.forecast is not None:
        return _forecasts(data, split, metrics)
    if data.task == "regress":
        return _numbers(data, split, metrics)
    if data.task == "language":
        return _tokens(data, split, metrics)
    if data.task == "multilabel":
        return _labels(data, split, metrics)
    return _classes(data, split, metrics)


def _forecasts(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    forecast = data.forecast
    assert forecast is not None
    truth = np.concatenate(split.targets).astype(np.float64)
    by_name = {
        name: _errors(values - truth) for name, values in _defined(naive.forecasts(split, forecast), data)
    }
    rows: list[Comparison] = []
    baselines: dict[str, float] = {}
    units = data.inputs[0].units or ("",) * len(data.inputs[0].features)
    numbers = [(series, place, name) for place, series in enumerate(data.labels) for name in forecast.names]
    for column, (series, place, horizon) in enumerate(numbers):
        name = f"{series}_{horizon}".replace(" ", "")
        for baseline, errors in by_name.items():
            for score, values in errors.items():
                baselines[f"{_key(baseline)}_{score}_{name}"] = float(values[column])
        best = min(by_name, key=lambda one: float(by_name[one]["error"][column]))
        ours, theirs = metrics[f"error_{name}"], float(by_name[best]["error"][column])
        unit = units[forecast.columns[place]]
        score = f"RMSE [{unit}]" if unit else "RMSE"
        rows.append(Comparison(name, f"{series} {horizon}", score, ours, best, theirs, _skill(ours, theirs)))
    return Skill(rows, baselines, _on_band(forecast.quantiles, metrics))


def _on_band(quantiles: tuple[float, ...], metrics: Mapping[str, float]) -> list[str]:
    """A note on the share of the actual values that the band holds, if there is a band."""
    if len(quantiles) < 2:
        return []
    return [
        f"the band from {quantiles[0]:.0%} to {quantiles[-1]:.0%} holds {metrics['coverage']:.1%} of the "
        f"actual values, nominally {quantiles[-1] - quantiles[0]:.0%}"
    ]


def _defined(outputs: dict[str, Floats], data: DataSet) -> list[tuple[str, Floats]]:
    """The forecasts with a value everywhere: where a method has none, persistence or the training mean.

    So all methods and the network are scored on the same targets.
    """
    forecast = data.forecast
    assert forecast is not None
    steps = np.concatenate(data.train.sequences)[:, list(forecast.columns)].astype(np.float64)
    means = np.repeat(np.nanmean(steps, axis=0), len(forecast.horizons))
    persistence = np.where(np.isnan(outputs[naive.PERSISTENCE]), means, outputs[naive.PERSISTENCE])
    return [(name, np.where(np.isnan(values), persistence, values)) for name, values in outputs.items()]


def _errors(differences: Floats) -> dict[str, Floats]:
    """Root mean square and mean absolute error of each column, over the known targets."""
    return {
        "error": np.sqrt(np.nanmean(differences**2, axis=0)),
        "mae": np.nanmean(np.abs(differences), axis=0),
    }


def _classes(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    known, truth = (_known(part) for part in (data.train, split))
    majority = int(np.bincount(known, minlength=len(data.labels)).argmax())
    share = float((truth == majority).mean())
    counts = np.bincount(truth, minlength=len(data.labels))
    f1 = float(2 * counts[majority] / (len(truth) + counts[majority]) / len(data.labels))
    baseline = f"always {data.labels[majority]!r}"
    ours, our_f1 = metrics["accuracy"], metrics["macro_f1"]
    rows = [
        Comparison("accuracy", "", "accuracy", ours, baseline, share, _skill(1 - ours, 1 - share), True),
        Comparison("macro_f1", "", "macro F1", our_f1, baseline, f1, _skill(1 - our_f1, 1 - f1)),
    ]
    absent = [label for label, count in zip(data.labels, counts, strict=True) if not count]
    notes = [f"no sequence or step of this part is {', '.join(map(repr, absent))}"] if absent else []
    if share > RARE and rows[1].skill <= 0:
        notes.append(f"{share:.1%} are {data.labels[majority]!r}; --balance weighs rare classes alike")
    return Skill(rows, {"majority_accuracy": share, "majority_macro_f1": f1}, notes)


def _numbers(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    """Compared with the training mean and, if every step has a target, a linear regression of the step."""
    known, truth = (linear.targets_of(part) for part in (data.train, split))
    outputs = {"the training mean": np.broadcast_to(np.nanmean(known, axis=0), truth.shape)}
    if not data.is_whole:
        outputs["linear regression of a step"] = linear.of_steps(data, split)
    by_name = {name: _errors(values - truth) for name, values in outputs.items()}
    rows, baselines = [], {}
    for column, label in enumerate(data.labels):
        name = label.replace(" ", "")
        for baseline, errors in by_name.items():
            for score, values in errors.items():
                baselines[f"{_key(baseline)}_{score}_{name}"] = float(values[column])
        best = min(by_name, key=lambda one: float(by_name[one]["error"][column]))
        ours, theirs = metrics[f"error_{name}"], float(by_name[best]["error"][column])
        rows.append(Comparison(name, label, "RMSE", ours, best, theirs, _skill(ours, theirs)))
    return Skill(rows, baselines, _on_band(data.quantiles, metrics))


def _labels(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    """Compared with answers that are the same everywhere: frequencies, majorities, every label."""
    known, truth = (linear.targets_of(part) for part in (data.train, split))
    counts = (~np.isnan(known)).sum(axis=0)
    frequency = (np.nansum(known, axis=0) + 1) / (counts + 2)
    majority = np.broadcast_to(frequency >= 0.5, truth.shape)
    constant = {MAJORITIES: majority, EVERY_LABEL: np.ones_like(majority)}
    f1 = {name: _macro_f1(predicted, truth) for name, predicted in constant.items()}
    best = max(f1, key=f1.__getitem__)
    loss = log_loss(np.broadcast_to(frequency, truth.shape), truth)
    wrong = float((majority != (truth > 0))[~np.isnan(truth)].mean())
    ours, our_wrong, our_f1 = (metrics[name] for name in ("loss", "hamming_loss", "macro_f1"))
    rows = [
        Comparison("loss", "", "log loss", ours, "label frequencies", loss, _skill(ours, loss)),
        Comparison(
            "hamming_loss", "", "Hamming loss", our_wrong, MAJORITIES, wrong, _skill(our_wrong, wrong), True
        ),
        Comparison("macro_f1", "", "macro F1", our_f1, best, f1[best], _skill(1 - our_f1, 1 - f1[best])),
    ]
    absent = [label for label, column in zip(data.labels, truth.T, strict=True) if not (column > 0).any()]
    notes = [f"no sequence or step of this part has {', '.join(map(repr, absent))}"] if absent else []
    scores = {"label_frequencies_loss": loss, "majorities_hamming_loss": wrong}
    return Skill(rows, scores | {f"{_key(name)}_macro_f1": value for name, value in f1.items()}, notes)


def _macro_f1(predicted: NDArray[np.bool_], truth: Floats) -> float:
    """The mean F1 of the labels that occur."""
    rows = by_label(predicted.astype(np.float64), predicted, truth, ("",) * truth.shape[1])
    return float(np.mean([row.f1 for row in rows if row.true] or [0.0]))


def _tokens(data: DataSet, split: Split, metrics: Mapping[str, float]) -> Skill:
    known, truth = (_known(part) for part in (data.train, split))
    counts = np.bincount(known, minlength=len(data.labels)) + 1.0
    bits = float(-np.log2(counts / counts.sum())[truth].mean())
    ours = metrics["bits"]
    row = Comparison("bits", "", "bits per token", ours, "token frequencies", bits, _skill(ours, bits))
    return Skill([row], {"token_frequencies_bits": bits}, [])


def _known(split: Split) -> NDArray[np.int64]:
    """The known classes of a split: of its sequences, or of all steps."""
    classes = np.concatenate(split.targets) if split.targets.dtype == object else split.targets
    return np.asarray(classes[classes >= 0], np.int64)


def _skill(ours: float, theirs: float) -> float:
    if theirs == 0:
        return 0.0 if ours == 0 else LOWEST
    return max(LOWEST, 1 - ours / theirs) if math.isfinite(ours) else LOWEST


def _key(text: str) -> str:
    return text.replace(" ", "_")
