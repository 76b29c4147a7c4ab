"""Compares predicted probabilities with the frequency of what they predict. Knows no task."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as in Guo et al. 2017

Floats = NDArray[np.float64]


class Reliability(NamedTuple):
    """Answers in bins of the probability of what they predict; each array [bins that hold any]."""

    confidence: Floats  # mean probability
    accuracy: Floats  # share of correct answers; of labels, of those that are true
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy over all answers.

        Guo, Pleiss, Sun, Weinberger 2017, On Calibration of Modern Neural Networks, equation 3.
        """
        distance = np.abs(self.confidence - self.accuracy)
        return float((distance * self.counts).sum() / self.counts.sum())


def reliability(probabilities: Floats, targets: NDArray[np.int64]) -> Reliability:
    """The reliability of `probabilities` [answers, classes] for the true classes `targets` [answers]."""
    confidence = probabilities.max(axis=1)
    return decision_reliability(confidence, (probabilities.argmax(axis=1) == targets).astype(np.float64))


def decision_reliability(confidence: Floats, is_right: Floats) -> Reliability:
    """The reliability of probabilities of single events; `is_right`: 1 where the event is true, else 0."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    sums = (np.bincount(bins, weights=values, minlength=BINS)[filled] for values in (confidence, is_right))
    means = [total / counts[filled] for total in sums]
    return Reliability(means[0], means[1], counts[filled])
