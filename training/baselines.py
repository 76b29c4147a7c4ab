"""What one gets without a recurrent network, measured on the same test part. Knows nothing of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
from dtaidistance import dtw_ndim
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.data.dataset import DataSet, Sequence, Split, each_step

DTW_PAIRS = 1_000_000  # of sequences that are held against each other, at most
NGRAM_COUNTS = 10_000_000  # that are kept, at most

Measures = dict[str, float]
Floats = NDArray[np.float64]


def measure(data: DataSet) -> dict[str, Measures]:
    """The baselines of a data set's task, each with the measures of `Task.score` that it has."""
    if data.task == "forecast":
        return _foretold(data)
    if data.task == "language":
        fitting = (length for length in (1, 2, 3) if len(data.labels) ** length <= NGRAM_COUNTS)
        return {f"{length}-grams": _ngrams(data, length=length) for length in fitting}
    found = {"majority": _fitted(data, DummyClassifier(), _nothing)}
    if data.task == "label":
        return found | {"logistic regression of a step": _fitted(data, LogisticRegression(), _steps)}
    if data.inputs[0].kind == "token":
        words = make_pipeline(
            TfidfVectorizer(analyzer=_tokens, sublinear_tf=True), LogisticRegression(C=30, max_iter=1000)
        )
        return found | {"TF-IDF, logistic regression": _fitted(data, words, _texts)}
    summary = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    found["summary, logistic regression"] = _fitted(data, summary, _summaries)
    if len(data.train) * len(data.test) <= DTW_PAIRS:
        found["nearest by DTW"] = _nearest(data)
    return found


def _fitted(data: DataSet, model: Any, features: Callable[[Split], NDArray[Any]]) -> Measures:
    """Fit a scikit-learn classifier on the training part, and ask it about the test part."""
    (x, known), (asked, truth) = ((features(part), _classes(part)) for part in (data.train, data.test))
    model.fit(x[known >= 0], known[known >= 0])
    return {"accuracy": float((model.predict(asked[truth >= 0]) == truth[truth >= 0]).mean())}


def _classes(split: Split) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (
        np.concatenate(split.targets) if split.targets.dtype == object else split.targets
    )
    return found


def _nothing(split: Split) -> NDArray[Any]:
    return np.zeros((len(_classes(split)), 1))


def _summaries(split: Split) -> NDArray[Any]:
    """Of each number its mean, spread, extremes, first and last; and how many steps there are."""
    return np.stack(
        [
            np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], [len(x)]])
            for x in split.sequences
        ]
    )


def _nearest(data: DataSet) -> Measures:
    """The class of the training sequence that dynamic time warping says is nearest (Sakoe, Chiba 1978)."""
    x = [sequence.astype(np.float64) for sequence in data.train.sequences + data.test.sequences]
    cut = len(data.train)
    distances = dtw_ndim.distance_matrix_fast(x, block=((0, cut), (cut, len(x))))[:cut, cut:]
    said = data.train.targets[distances.argmin(axis=0)]
    return {"accuracy": float((said == data.test.targets).mean())}


def _steps(split: Split) -> NDArray[Any]:
    return np.concatenate(split.sequences)


def _texts(split: Split) -> NDArray[Any]:
    return each_step(list(split.sequences))


def _tokens(sequence: Sequence) -> list[int]:
    tokens: list[int] = sequence[:, 0].astype(np.int64).tolist()
    return tokens


def _foretold(data: DataSet) -> dict[str, Measures]:
    """Persistence: as it was last seen. Seasonal: as it was a season before the moment foretold.

    With drift: that, and by how much it is now above or below a season ago.
    """
    told = data.forecast
    assert told is not None
    found: dict[str, list[Floats]] = {"persistence": []}
    if told.season:
        found |= {"seasonal naive": [], "seasonal naive with drift": []}
    for sequence in data.test.sequences:
        seen = [_last_seen(sequence[:, column]) for column in told.columns for _ in told.horizons]
        found["persistence"].append(np.stack(seen, axis=1))
        if told.season:
            back = [told.season - steps for _ in told.columns for steps in told.horizons]
            earlier = [_later(values, n) for values, n in zip(seen, back, strict=True)]
            drift = [values - _later(values, told.season) for values in seen]
            found["seasonal naive"].append(np.stack(earlier, axis=1))
            found["seasonal naive with drift"].append(np.stack(earlier, axis=1) + np.stack(drift, axis=1))
    truth = np.concatenate(data.test.targets)
    names = [f"{series}_{when}".replace(" ", "") for series in data.labels for when in told.names]
    return {what: _errors(names, np.concatenate(said), truth) for what, said in found.items()}


def _errors(names: list[str], said: Floats, truth: Floats) -> Measures:
    away = said - truth
    rms, absolute = np.sqrt(np.nanmean(away**2, axis=0)), np.nanmean(np.abs(away), axis=0)
    whole = {"error": float(np.sqrt(np.nanmean(away**2)))}
    whole |= {f"error_{name}": float(value) for name, value in zip(names, rms, strict=True)}
    return whole | {f"mae_{name}": float(value) for name, value in zip(names, absolute, strict=True)}


def _later(values: Floats, steps: int) -> Floats:
    """[time] → [time]: what was so many steps before, NaN at the beginning."""
    return np.concatenate([np.full(steps, np.nan), values])[: len(values)]


def _last_seen(values: NDArray[Any]) -> Floats:
    when = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(when < 0, np.nan, values[when]).astype(np.float64)


def _ngrams(data: DataSet, *, length: int) -> Measures:
    """Bits a token, given the `length` - 1 before it: counts of the training part, one added to each."""
    size = len(data.labels)
    counts = np.ones((size ** (length - 1), size))
    for x, y in zip(data.train.sequences, data.train.targets, strict=True):
        np.add.at(counts, (_before(x, length, size), y), 1)
    p = counts / counts.sum(axis=1, keepdims=True)
    said = [
        p[_before(x, length, size), y] for x, y in zip(data.test.sequences, data.test.targets, strict=True)
    ]
    return {"bits": float(-np.log2(np.concatenate(said)).mean())}


def _before(x: Sequence, length: int, size: int) -> NDArray[np.int64]:
    """The number of the `length` - 1 tokens up to each step; what was before the first is token 0."""
    tokens = x[:, 0].astype(np.int64)
    number = np.zeros_like(tokens)
    for back in range(length - 1):
        number += np.concatenate([np.zeros(back, np.int64), tokens[: len(tokens) - back]]) * size**back
    return number
