"""Scores without a recurrent network, on the same test part. Knows nothing of our networks."""

from collections.abc import Callable
from typing import Any

import numpy as np
from dtaidistance import dtw_ndim
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training import linear, naive
from training.data.dataset import DataSet, Sequence, Split, each_step
from training.tasks.labels import by_label, micro_f1

DTW_PAIRS = 1_000_000  # most pairs of sequences to compare
NGRAM_COUNTS = 10_000_000  # most counts to store
RECENT = 30  # steps that a linear regression reads

Measures = dict[str, float]
Floats = NDArray[np.float64]


def measure(data: DataSet) -> dict[str, Measures]:
    """The baselines of a data set's task by name, each with its scores, named as in `Task.score`."""
    if data.task == "forecast":
        return _forecasts(data)
    if data.task == "language":
        fitting = (length for length in (1, 2, 3) if len(data.labels) ** length <= NGRAM_COUNTS)
        return {f"{length}-grams": _ngrams(data, length=length) for length in fitting}
    if data.task == "regress":
        return _numbers(data)
    if data.task == "multilabel":
        return _labels(data)
    scores = {"majority": _fitted(data, DummyClassifier(), _no_features)}
    if data.task == "label":
        return scores | {"logistic regression of a step": _fitted(data, LogisticRegression(), _steps)}
    if data.inputs[0].kind == "token":
        words = make_pipeline(
            TfidfVectorizer(analyzer=_tokens, sublinear_tf=True), LogisticRegression(C=30, max_iter=1000)
        )
        return scores | {"TF-IDF, logistic regression": _fitted(data, words, _texts)}
    summary = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores["summary, logistic regression"] = _fitted(data, summary, _summaries)
    if len(data.train) * len(data.test) <= DTW_PAIRS:
        scores["nearest by DTW"] = _nearest(data)
    return scores


def _fitted(data: DataSet, model: Any, features: Callable[[Split], NDArray[Any]]) -> Measures:
    """Fit a scikit-learn classifier on the training part, and score it on the test part."""
    (x, known), (test_x, truth) = ((features(part), _classes(part)) for part in (data.train, data.test))
    model.fit(x[known >= 0], known[known >= 0])
    return {"accuracy": float((model.predict(test_x[truth >= 0]) == truth[truth >= 0]).mean())}


def _classes(split: Split) -> NDArray[np.int64]:
    classes: NDArray[np.int64] = (
        np.concatenate(split.targets) if split.targets.dtype == object else split.targets
    )
    return classes


def _no_features(split: Split) -> NDArray[Any]:
    return np.zeros((len(_classes(split)), 1))


def _summaries(split: Split) -> NDArray[Any]:
    """For each number its mean, spread, minimum, maximum, first and last; and the number of steps."""
    return np.stack(
        [
            np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], [len(x)]])
            for x in split.sequences
        ]
    )


def _nearest(data: DataSet) -> Measures:
    """The class of the training sequence nearest by dynamic time warping (Sakoe, Chiba 1978)."""
    x = [sequence.astype(np.float64) for sequence in data.train.sequences + data.test.sequences]
    cut = len(data.train)
    distances = dtw_ndim.distance_matrix_fast(x, block=((0, cut), (cut, len(x))))[:cut, cut:]
    predicted = data.train.targets[distances.argmin(axis=0)]
    return {"accuracy": float((predicted == data.test.targets).mean())}


def _steps(split: Split) -> NDArray[Any]:
    return np.concatenate(split.sequences)


def _texts(split: Split) -> NDArray[Any]:
    return each_step(list(split.sequences))


def _tokens(sequence: Sequence) -> list[int]:
    tokens: list[int] = sequence[:, 0].astype(np.int64).tolist()
    return tokens


def _forecasts(data: DataSet) -> dict[str, Measures]:
    """The forecasts without training, each over the steps where it is defined."""
    assert data.forecast is not None
    truth = np.concatenate(data.test.targets)
    names = [
        f"{series}_{horizon}".replace(" ", "") for series in data.labels for horizon in data.forecast.names
    ]
    outputs = naive.forecasts(data.test, data.forecast)
    return {name: _errors(names, values, truth) for name, values in outputs.items()}


def _numbers(data: DataSet) -> dict[str, Measures]:
    """The mean of the training part, and linear regressions."""
    known, truth = (linear.targets_of(part) for part in (data.train, data.test))
    names = [label.replace(" ", "") for label in data.labels]
    outputs = {"training mean": np.broadcast_to(np.nanmean(known, axis=0), truth.shape)}
    if data.is_whole:
        outputs["summary, linear regression"] = linear.of_summaries(data, data.test)
    else:
        outputs["linear regression of a step"] = linear.of_steps(data, data.test)
        outputs[f"linear regression of {RECENT} steps"] = linear.of_steps(data, data.test, steps=RECENT)
    return {name: _errors(names, y, truth) | _explained(names, y, truth) for name, y in outputs.items()}


def _labels(data: DataSet) -> dict[str, Measures]:
    """The majority of each label of the training part, every label, and a logistic regression for each."""
    known, truth = (linear.targets_of(part) for part in (data.train, data.test))
    features = _summaries if data.is_whole else _steps
    x, test_x = (features(part) for part in (data.train, data.test))
    fitted = np.empty(truth.shape, dtype=bool)
    for column, labels in enumerate(known.T):
        is_known = ~np.isnan(labels)
        model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000))
        fitted[:, column] = model.fit(x[is_known], labels[is_known] > 0).predict(test_x)
    name = "summary, logistic regression" if data.is_whole else "logistic regression of a step"
    outputs = {
        "majority of each label": np.broadcast_to(np.nanmean(known, axis=0) >= 0.5, truth.shape),
        "every label": np.ones_like(fitted),
        name: fitted,
    }
    return {name: _f1(predicted, truth, data.labels) for name, predicted in outputs.items()}


def _f1(predicted: NDArray[np.bool_], truth: Floats, labels: tuple[str, ...]) -> Measures:
    rows = by_label(predicted.astype(np.float64), predicted, truth, labels)
    macro = float(np.mean([row.f1 for row in rows if row.true]))
    return {"micro_f1": micro_f1(predicted, truth), "macro_f1": macro}


def _explained(names: list[str], outputs: Floats, truth: Floats) -> Measures:
    """R², as in `training.tasks.regress`."""
    around = np.nansum((truth - np.nanmean(truth, axis=0)) ** 2, axis=0)
    r2 = 1 - np.nansum((outputs - truth) ** 2, axis=0) / around
    return {f"r2_{name}": float(value) for name, value in zip(names, r2, strict=True)}


def _errors(names: list[str], outputs: Floats, truth: Floats) -> Measures:
    differences = outputs - truth
    rms = np.sqrt(np.nanmean(differences**2, axis=0))
    absolute = np.nanmean(np.abs(differences), axis=0)
    whole = {"error": float(np.sqrt(np.nanmean(differences**2)))}
    whole |= {f"error_{name}": float(value) for name, value in zip(names, rms, strict=True)}
    return whole | {f"mae_{name}": float(value) for name, value in zip(names, absolute, strict=True)}


def _ngrams(data: DataSet, *, length: int) -> Measures:
    """Bits per token, given the `length` - 1 tokens before it: counts of the training part plus one."""
    size = len(data.labels)
    counts = np.ones((size ** (length - 1), size))
    for x, y in zip(data.train.sequences, data.train.targets, strict=True):
        np.add.at(counts, (_before(x, length, size), y), 1)
    p = counts / counts.sum(axis=1, keepdims=True)
    likelihoods = [
        p[_before(x, length, size), y] for x, y in zip(data.test.sequences, data.test.targets, strict=True)
    ]
    return {"bits": float(-np.log2(np.concatenate(likelihoods)).mean())}


def _before(x: Sequence, length: int, size: int) -> NDArray[np.int64]:
    """The `length` - 1 tokens up to each step as one number; before the first step there is token 0."""
    tokens = x[:, 0].astype(np.int64)
    number = np.zeros_like(tokens)
    for back in range(length - 1):
        number += np.concatenate([np.zeros(back, np.int64), tokens[: len(tokens) - back]]) * size**back
    return number
