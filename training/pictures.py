"""Chooses what is drawn of a network's answers on a split, and draws it into a folder. Trains nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.dataset import DataSet, Split
from training.evaluate import Answers, outputs_of
from training.figures import draw_confusion, draw_forecasts, draw_reliability, draw_residuals
from training.figures.results import Panel
from training.model import Network
from training.quantiles import middle_of
from training.tasks import Scores
from training.tasks.calibration import decision_reliability, reliability
from training.tasks.labels import sigmoid

NUMBERS = 4  # series and horizons that are drawn
SEQUENCES = 3  # sequences of each
LONGEST = 200  # last steps of a sequence that are drawn
RANKED = "test sequences, by prediction"

Floats = NDArray[np.float64]


def draw(
    network: Network, data: DataSet, split: Split, answers: Answers, scores: Scores, folder: Path
) -> dict[str, str]:
    """Draw the answers on a split; return the file names with what they show."""
    if data.forecast is not None:
        return _forecasts(network, data, split, answers, folder)
    if data.task == "regress":
        return _numbers(network, data, split, answers, folder)
    if data.task == "multilabel":
        return _labels(answers, folder)
    if scores.confusion is None:
        return {}
    draw_confusion(
        scores.confusion,
        labels=data.labels,
        title=f"{data.title}, test part\naccuracy {scores.metrics['accuracy']:.2%}",
        path=folder / "confusion.png",
    )
    p = torch.from_numpy(answers.outputs).double().softmax(-1).numpy()
    found = reliability(p, answers.targets.astype(np.int64))
    draw_reliability(*found, error=found.error, path=folder / "reliability.png")
    return {"confusion.png": "confusion of the classes", "reliability.png": "probabilities and frequencies"}


def _labels(answers: Answers, folder: Path) -> dict[str, str]:
    known = ~np.isnan(answers.targets)
    found = decision_reliability(sigmoid(answers.outputs[known]), answers.targets[known].astype(np.float64))
    draw_reliability(
        *found,
        error=found.error,
        path=folder / "reliability.png",
        share="share of labels that are true",
        probability="probability of a label",
    )
    return {"reliability.png": "probabilities and frequencies of the labels"}


def _forecasts(
    network: Network, data: DataSet, split: Split, answers: Answers, folder: Path
) -> dict[str, str]:
    forecast = data.forecast
    assert forecast is not None
    quantiles = forecast.quantiles
    middle = middle_of(quantiles)
    names = [f"{series} {horizon}" for series in data.labels for horizon in forecast.names]
    steps = [steps for _ in data.labels for steps in forecast.horizons]
    chosen = _spread(len(names), NUMBERS)
    order = np.argsort([-len(sequence) for sequence in split.sequences], kind="stable")[:SEQUENCES]
    outputs = {
        int(row): outputs_of(network, split.sequences[row]).reshape(-1, len(names), len(quantiles))
        for row in order
    }
    panels = [
        [
            _panel(
                names[number],
                row,
                steps[number],
                by_quantile[:, number],
                split.targets[row][:, number],
                middle,
            )
            for row, by_quantile in outputs.items()
        ]
        for number in chosen
    ]
    draw_forecasts(panels, band=_band(quantiles), path=folder / "forecasts.png")
    by_number = answers.outputs.reshape(*answers.targets.shape, len(quantiles))[..., middle].astype(
        np.float64
    )
    numbers = {
        names[number]: _without_missing(by_number[:, number], answers.targets[:, number]) for number in chosen
    }
    draw_residuals(numbers, path=folder / "residuals.png")
    return {"forecasts.png": "forecasts beside actual values", "residuals.png": "residuals"}


def _numbers(network: Network, data: DataSet, split: Split, answers: Answers, folder: Path) -> dict[str, str]:
    chosen = _spread(len(data.labels), NUMBERS)
    size = (len(data.labels), max(1, len(data.quantiles)))
    middle, band = middle_of(data.quantiles), _band(data.quantiles)
    answered = answers.outputs.reshape(-1, *size)  # [answers, numbers, quantiles]
    drawn = {
        data.labels[number]: _without_missing(answered[:, number, middle], answers.targets[:, number])
        for number in chosen
    }
    draw_residuals(drawn, path=folder / "residuals.png")
    shown = {"predictions.png": "predictions beside actual values", "residuals.png": "residuals"}
    if data.is_whole:
        ranked = [
            [_ranked(data.labels[number], answered[:, number], answers.targets[:, number], middle)]
            for number in chosen
        ]
        draw_forecasts(ranked, band=band, across=RANKED, path=folder / "predictions.png")
        return shown
    order = np.argsort([-len(sequence) for sequence in split.sequences], kind="stable")[:SEQUENCES]
    outputs = {int(row): outputs_of(network, split.sequences[row]).reshape(-1, *size) for row in order}
    panels = [
        [
            _panel(data.labels[number], row, 0, values[:, number], split.targets[row][:, number], middle)
            for row, values in outputs.items()
        ]
        for number in chosen
    ]
    draw_forecasts(panels, band=band, path=folder / "predictions.png")
    return shown


def _ranked(name: str, by_quantile: NDArray[Any], truth: NDArray[Any], middle: int) -> Panel:
    """The known numbers of whole sequences by rising prediction: `by_quantile` [answers, quantiles]."""
    order = np.argsort(by_quantile[:, middle], kind="stable")
    order = order[~np.isnan(truth[order])]
    return _panel(name, None, 0, by_quantile[order], truth[order], middle)


def _band(quantiles: tuple[float, ...]) -> str:
    """What share a band should hold; "" without a band."""
    return f"{quantiles[0]:.0%} to {quantiles[-1]:.0%}" if len(quantiles) > 1 else ""


def _without_missing(predicted: NDArray[Any], actual: NDArray[Any]) -> tuple[Floats, Floats]:
    known = ~np.isnan(actual)
    return predicted[known].astype(np.float64), actual[known].astype(np.float64)


def _panel(
    name: str, row: int | None, ahead: int, by_quantile: NDArray[Any], truth: NDArray[Any], middle: int
) -> Panel:
    """The last steps of a sequence, or all sequences for `row` None.

    `by_quantile` [time or sequences, quantiles], `truth` [time or sequences].
    """
    shown = slice(0 if row is None else max(0, len(truth) - LONGEST), len(truth))
    values = by_quantile[shown].astype(np.float64)
    has_band = values.shape[1] > 1
    return Panel(
        title=name if row is None else f"{name}, test sequence {row}",
        steps=np.arange(len(truth))[shown] + ahead,
        actual=truth[shown].astype(np.float64),
        predicted=values[:, middle],
        low=values[:, 0] if has_band else None,
        high=values[:, -1] if has_band else None,
    )


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` numbers, evenly spread, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})
