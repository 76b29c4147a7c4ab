"""Scores compared with a calculation by hand."""

import numpy as np
import pytest

from training.evaluate import predict
from training.run import Run
from training.tasks import of
from training.tasks.classes import score_classes


def test_scores_match_their_definitions() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]], np.float32))
    scores = score_classes(logits, np.array([0, 1, 0]))
    assert scores.metrics["accuracy"] == pytest.approx(2 / 3)
    assert scores.metrics["loss"] == pytest.approx(-np.log([0.7, 0.8, 0.3]).mean(), rel=1e-6)
    assert scores.confusion is not None
    assert scores.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert scores.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_outputs_do_not_depend_on_the_batch_size(finished: Run) -> None:
    whole = predict(finished.network, finished.data.test, of(finished.data))
    parts = predict(finished.network, finished.data.test, of(finished.data), batch_size=7)
    np.testing.assert_allclose(parts.outputs, whole.outputs, atol=1e-5)
    assert [state.shape for state in whole.state] == [(1, 370, 24)] * 2
    for ours, theirs in zip(parts.state, whole.state, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
