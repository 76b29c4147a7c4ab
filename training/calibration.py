"""Calibrates a trained network on the validation part: probabilities of classes, bands of numbers.

Classes: the logits are divided by a temperature T, which changes no predicted class (Guo, Pleiss, Sun,
Weinberger 2017, On Calibration of Modern Neural Networks, section 4.2). T has the least cross-entropy on the
validation part. The dense layer is divided by it, so a calibrated network, its graph and its runs need no
further number, and networks from before there was a temperature have T = 1.

Bands of forecasts and regressions: the lowest and the highest quantile move outwards by a margin for each
number, in its unit (conformalised quantile regression: Romano, Patterson, Candès 2019, algorithm 1). If
validation and test values are exchangeable, the band then holds its nominal share or more. Steps of one
series are not exchangeable, and the epoch was chosen on the validation part. So the share on the test part
decides.

Independent labels: one temperature for all of them, each label being a choice between two classes. On request
each label also has the threshold with the largest F1 on the validation part, in the place of 0.5 (Lipton,
Elkan, Naryanaswamy 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import Recipe
from training.data.dataset import DataSet, Split
from training.evaluate import Answers, predict
from training.model import Network
from training.tasks import Task, of
from training.tasks.bands import Banded
from training.tasks.calibration import decision_reliability, reliability
from training.tasks.classes import log_probabilities, probabilities
from training.tasks.labels import MultiLabel, sigmoid

LARGEST = 20.0  # temperature; the smallest is its inverse
HALVINGS = 40  # of the interval between their logarithms: to 1e-11
SIGNIFICANT = 3.84  # twice the gain of log-likelihood that chance exceeds once in 20 times (chi², one degree)
TEMPERATURE, THRESHOLD, MARGIN, BEFORE = (
    "temperature",
    "threshold_",
    "conformal_margin_",
    "uncalibrated_",
)  # among the metrics of a run

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What the calibration changed in a network."""

    found: dict[str, float] = field(default_factory=dict)  # for `metrics.json`
    temperature: float = 1.0
    widening: Floats | None = None  # [out], added to the outputs

    def metrics(self, network: Network, task: Task, answers: Answers) -> dict[str, float]:
        """For `metrics.json`: what was found, and the scores of the test part without it.

        `answers`: of the calibrated network on the test part.
        """
        if self.temperature == 1 and self.widening is None:
            return self.found
        outputs = answers.outputs * np.float32(self.temperature)
        if self.widening is not None:
            outputs = outputs - self.widening
        before = task.score(network, outputs, answers.targets).metrics
        changed = (name for name in before if name in ("loss", "ece") or name.startswith("coverage"))
        return self.found | {f"test_{BEFORE}{name}": before[name] for name in changed}


def calibrate(network: Network, data: DataSet, validation: Split, recipe: Recipe) -> Calibration:
    """Calibrate a network, in place, on the validation part, as the recipe says."""
    task = of(data)
    if data.task in ("classify", "label") and recipe.calibrate:
        return _probabilities(network, predict(network, validation, task))
    if isinstance(task, MultiLabel):
        return _labels(network, data.labels, predict(network, validation, task), recipe)
    if isinstance(task, Banded) and task.has_band:
        return _bands(network, task, predict(network, validation, task), is_wider=recipe.conformal)
    return Calibration()


def settings(metrics: Mapping[str, float]) -> dict[str, float]:
    """The temperature, the thresholds, or the margins, among the metrics of a run."""
    return {
        name: value
        for name, value in metrics.items()
        if name == TEMPERATURE or name.startswith((MARGIN, THRESHOLD))
    }


def describe(metrics: Mapping[str, float]) -> list[str]:
    """The calibration of a run in sentences, from its metrics; empty for a run without one."""
    bands = _describe_bands(metrics) if f"test_{BEFORE}coverage" in metrics else []
    return [*_describe_temperature(metrics), *_describe_thresholds(metrics), *bands]


def _describe_temperature(metrics: Mapping[str, float]) -> list[str]:
    if TEMPERATURE not in metrics:
        return []
    if f"test_{BEFORE}ece" not in metrics:
        return [
            "temperature 1: none lowers the loss of the validation part by more than chance would; expected "
            f"calibration error on the test part {metrics['test_ece']:.4f}"
        ]
    before, after = ([metrics[f"test_{part}{name}"] for name in ("ece", "loss")] for part in (BEFORE, ""))
    return [
        f"temperature {metrics[TEMPERATURE]:.4g}, fitted on the validation part; on the test part the "
        f"expected calibration error was {before[0]:.4f} and is {after[0]:.4f}, the loss was "
        f"{before[1]:.4f} and is {after[1]:.4f}"
    ]


def _describe_thresholds(metrics: Mapping[str, float]) -> list[str]:
    chosen = {name: value for name, value in metrics.items() if name.startswith(THRESHOLD)}
    if not chosen:
        return []
    shown = ", ".join(f"{name.removeprefix(THRESHOLD)} {value:.3g}" for name, value in chosen.items())
    return [f"thresholds with the largest F1 on the validation part: {shown}"]


def _describe_bands(metrics: Mapping[str, float]) -> list[str]:
    before, after = (
        " and ".join(f"{metrics[f'{part}_{name}coverage']:.1%} ({part})" for part in ("validation", "test"))
        for name in (BEFORE, "")
    )
    lines = [f"margins fitted on the validation part: the bands held {before} and hold {after}"]
    names = (name.removeprefix("test_coverage_") for name in metrics if name.startswith("test_coverage_"))
    if unfitted := [name for name in names if f"{MARGIN}{name}" not in metrics]:
        lines.append(f"the validation part has too few values for a margin of {', '.join(unfitted)}")
    return lines


def fitted_temperature(logits: Floats, targets: NDArray[np.int64]) -> float:
    """The temperature of the `logits` [answers, classes] for the true classes `targets` [answers].

    1, if no other lowers the cross-entropy by more than chance would (likelihood ratio). The targets are
    smoothed by one imaginary wrong answer, as in Platt 1999 (Probabilistic Outputs for Support Vector
    Machines, section 2.2): otherwise T would be 0 where all answers are correct.
    """
    count, classes = logits.shape
    if count == 0 or classes < 2:
        return 1.0
    z = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    true = z[np.arange(count), targets]
    doubt = 1 / (count + 2)
    wanted = float(((1 - doubt) * true + doubt * (z.sum(axis=1) - true) / (classes - 1)).mean())

    def slope(inverse: float) -> float:
        """The derivative of the cross-entropy by 1 / T, which rises with it: the loss is convex."""
        return float((probabilities(z * inverse) * z).sum(axis=1).mean()) - wanted

    low, high = -math.log(LARGEST), math.log(LARGEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    temperature = math.exp(-(low + high) / 2)
    gain = _cross_entropy(z, targets) - _cross_entropy(z / temperature, targets)
    return temperature if 2 * count * gain > SIGNIFICANT else 1.0


def fitted_threshold(p: Doubles, is_true: NDArray[np.bool_]) -> float:
    """The threshold of one label with the largest F1: halfway between two of its probabilities `p` [answers].

    Of several the one nearest to 0.5; 0.5, if the label is never or always true, or if it is as good.
    """
    order = np.argsort(-p, kind="stable")
    ranked, hits = p[order], np.cumsum(is_true[order])
    if not 0 < int(is_true.sum()) < len(p):
        return 0.5
    f1 = 2 * hits / (np.arange(len(p)) + 1 + hits[-1])  # with as many predictions
    ends = np.append(ranked[:-1] > ranked[1:], True)  # equal probabilities are predicted together
    between = (ranked + np.append(ranked[1:], 0.0)) / 2
    said = p >= 0.5
    at_half = 2 * int((said & is_true).sum()) / (int(said.sum()) + hits[-1])
    ends &= between > 0
    best = f1[ends].max(initial=0.0)
    if best <= at_half:
        return 0.5
    candidates = between[ends & (f1 == best)]
    return float(f"{candidates[np.abs(candidates - 0.5).argmin()]:.6g}")


def fitted_margins(low: Doubles, high: Doubles, truth: Doubles, *, share: float) -> Doubles:
    """The margins [columns] with which bands from `low` to `high` hold a `share` of the truth.

    All [answers, columns]; an unknown truth is NaN. A band that is too wide stays: its margin is 0. The
    margin is NaN where there are too few answers for the share: fewer than 9 for 90 %.
    """
    margins = np.full(truth.shape[1], np.nan)
    for column, outside in enumerate(np.maximum(low - truth, truth - high).T):
        known = np.sort(outside[~np.isnan(outside)])
        rank = math.ceil(round((len(known) + 1) * share, 9))
        if rank <= len(known):
            margins[column] = max(0.0, float(known[rank - 1]))
    return margins


def _probabilities(network: Network, answers: Answers) -> Calibration:
    targets = answers.targets.astype(np.int64)
    if not len(targets):
        return Calibration({TEMPERATURE: 1.0})
    temperature = fitted_temperature(answers.outputs, targets)
    _divide(network, temperature)
    before, after = (
        reliability(probabilities(answers.outputs.astype(np.float64) / one), targets).error
        for one in (1.0, temperature)
    )
    found = {TEMPERATURE: temperature, f"validation_{BEFORE}ece": before, "validation_ece": after}
    return Calibration(found, temperature)


def _labels(network: Network, labels: tuple[str, ...], answers: Answers, recipe: Recipe) -> Calibration:
    """Fit a temperature, and thresholds, as the recipe says."""
    truth = answers.targets.astype(np.float64)
    is_known = ~np.isnan(truth)
    z, y = answers.outputs[is_known], truth[is_known].astype(np.int64)
    temperature, found = 1.0, {}
    if recipe.calibrate:
        if len(z):
            temperature = fitted_temperature(np.stack([np.zeros_like(z), z], axis=1), y)
            _divide(network, temperature)
            before, after = (
                decision_reliability(sigmoid(z / t), y.astype(np.float64)).error for t in (1.0, temperature)
            )
            found = {f"validation_{BEFORE}ece": before, "validation_ece": after}
        found[TEMPERATURE] = temperature
    if recipe.thresholds == "f1":
        assert network.thresholds is not None
        p = sigmoid(answers.outputs / np.float32(temperature))
        for column, label in enumerate(labels):
            known = is_known[:, column]
            chosen = fitted_threshold(p[known, column], truth[known, column] > 0)
            network.thresholds[column] = found[f"{THRESHOLD}{label}"] = chosen
    return Calibration(found, temperature)


def _divide(network: Network, temperature: float) -> None:
    """Divide the logits of a network by a temperature."""
    with torch.no_grad():
        network.head.weight.div_(temperature)
        network.head.bias.div_(temperature)


def _bands(network: Network, task: Banded, answers: Answers, *, is_wider: bool) -> Calibration:
    layer = network.quantiles
    assert layer is not None
    truth = answers.targets.astype(np.float64)
    by_quantile = task.by_quantile(answers.outputs).astype(np.float64)
    low, high = by_quantile[..., 0], by_quantile[..., -1]
    before = _coverage(low, high, truth)
    if not is_wider:
        return Calibration({"validation_coverage": before})
    margins = fitted_margins(low, high, truth, share=task.nominal)
    fitted = {
        f"{MARGIN}{name}": float(margin)
        for name, margin in zip(task.names, margins, strict=True)
        if not math.isnan(margin)
    }
    layer.margin.copy_(torch.from_numpy(np.nan_to_num(margins)))
    wider = np.nan_to_num(margins)
    found = {f"validation_{BEFORE}coverage": before, **fitted}
    found["validation_coverage"] = _coverage(low - wider, high + wider, truth)
    return Calibration(found, widening=layer.widening.flatten().cpu().numpy())


def _coverage(low: Doubles, high: Doubles, truth: Doubles) -> float:
    known = ~np.isnan(truth)
    return float(((low <= truth) & (truth <= high))[known].mean())


def _cross_entropy(logits: Doubles, targets: NDArray[np.int64]) -> float:
    return float(-log_probabilities(logits)[np.arange(len(targets)), targets].mean())
