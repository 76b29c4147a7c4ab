"""Labels that are true or not independently of each other: what a reply and the client say of them."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate.models import model_of
from cellgate.predictions import from_json
from service.codec.classification import classify
from service.codec.labels import predicted
from service.codec.reply import encode_outputs, encode_prediction, encode_predictions, encode_rows
from service.codec.sizes import prediction_bytes
from service.codec.stored import regenerate
from service.manifest import Manifest, OutputSpec
from service.sequence import Array

NAMES = ("wind", "rain", 'a "fog"\n\u00e9\U0001f600')
SPEC = OutputSpec(name="y", kind="labels", dims=(3,), labels=NAMES, thresholds=(0.5, 0.25, 0.75))
MANIFEST = Manifest.model_construct(task="multilabel", inputs=(), outputs=(SPEC,))
PROBABILITIES = st.lists(
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, np.nan]) | st.floats(0, 1, width=32), min_size=3, max_size=3
)


def changed(**changes: Any) -> OutputSpec:
    return OutputSpec.model_validate(SPEC.model_dump() | changes)


def read(answer: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer)
    return document


def test_labels_at_or_above_their_threshold_are_listed_the_likeliest_first() -> None:
    answer = read(encode_prediction(SPEC, np.array([0.5, 0.9, 0.7], np.float32)))
    assert answer == {
        "output": [0.5, 0.9, 0.7],
        "labels": [{"label": "rain", "probability": 0.9}, {"label": "wind", "probability": 0.5}],
    }
    none = read(encode_prediction(SPEC, np.zeros(3, np.float32), session="s", step=4))
    assert none == {"output": [0, 0, 0], "labels": [], "session": "s", "step": 4}


def test_without_thresholds_a_label_needs_half() -> None:
    spec = changed(thresholds=())
    below = np.nextafter(np.float32(0.5), np.float32(0))
    answer = read(encode_prediction(spec, np.array([0.5, below, 0.6], np.float32)))
    assert [one["label"] for one in answer["labels"]] == [NAMES[2], "wind"]


def test_every_step_has_its_labels_and_none_where_a_number_is_missing() -> None:
    steps = np.array([[0.6, 0.1, 0.1], [np.nan, 0.9, 0.9], [0.1, 0.1, 0.1]], np.float32)
    wind = [{"label": "wind", "probability": pytest.approx(0.6)}]
    assert read(encode_prediction(SPEC, steps))["labels"] == [wind, None, []]
    assert "labels" not in read(encode_prediction(SPEC, steps[1]))
    assert read(encode_rows(5, [(SPEC, steps)], is_named=False))["labels"] == [wind, None, []]
    value = OutputSpec(name="value")
    named = read(encode_outputs([(value, np.array(1.0)), (SPEC, steps[0])]))
    assert named["outputs"]["value"] == 1 and named["labels"] == wind


@given(rows=st.lists(PROBABILITIES, max_size=3), order=st.permutations(range(3)))
def test_the_order_of_the_labels_changes_no_probability(rows: Any, order: list[int]) -> None:
    """Equal probabilities may change places in the list."""
    other = changed(
        labels=[NAMES[place] for place in order], thresholds=[SPEC.thresholds[place] for place in order]
    )
    for row in np.array(rows, np.float32).reshape(-1, 3):
        one, another = predicted(SPEC, row), predicted(other, row[order])
        assert (one is None) == (another is None)
        key = lambda entry: (-entry["probability"], entry["label"])  # noqa: E731
        assert sorted(one or [], key=key) == sorted(another or [], key=key)


@given(rows=st.lists(PROBABILITIES, min_size=1, max_size=3), dtype=st.sampled_from(["float32", "float64"]))
def test_many_are_as_each_and_fit_and_are_read_back(rows: Any, dtype: str) -> None:
    spec = changed(dtype=dtype)
    outputs = np.array(rows, dtype)
    assert encode_predictions(spec, outputs) == [encode_prediction(spec, output) for output in outputs]
    for output, steps in ((outputs, len(outputs)), (outputs[0], 1)):
        answer = encode_prediction(spec, output, session="s" * 128, step=2**53 - 1)
        assert len(answer) <= prediction_bytes([(spec, dtype)], steps)
        assert regenerate(answer, session="s" * 128, step=2**53 - 1, manifest=MANIFEST) == answer


@given(rows=st.lists(PROBABILITIES, min_size=1, max_size=3))
def test_the_client_finds_the_labels_of_the_reply(rows: Any) -> None:
    entry = {"name": "m", "version": "1", "task": "multilabel", "inputs": [], "sessions": True}
    model = model_of(entry | {"default": True, "outputs": [SPEC.model_dump()]})
    outputs: Array = np.array(rows, np.float32)
    every, last = (read(encode_prediction(SPEC, output)) for output in (outputs, outputs[-1]))
    ours = from_json(every, model)
    assert ours.label_sets is not None and ours.label_set == ours.label_sets[-1]
    assert ours.label_set == from_json(last, model).label_set
    for mine, theirs in zip(ours.label_sets, every["labels"], strict=True):
        found = None if mine is None else [(one.name, np.float32(one.probability)) for one in mine]
        expected = theirs and [(one["label"], np.float32(one["probability"])) for one in theirs]
        assert found == expected


@pytest.mark.parametrize(
    "labels",
    [
        {"label": "rain"},
        [{"label": 3, "probability": 0.5}],
        [{"label": "rain", "probability": "0.5"}],
        [[["x"]]],
    ],
)
def test_forged_labels_are_refused(labels: Any) -> None:
    reply = json.dumps({"output": [0, 0, 0], "labels": labels, "session": "s", "step": 4}).encode()
    assert regenerate(reply, session="s", step=4, manifest=MANIFEST) is None


def test_the_classification_of_v2_ranks_the_labels() -> None:
    y = np.array([[[0.5, 0.9, 0.7]]], np.float32)
    assert classify(y, 2, SPEC.labels).tolist() == [[["0.9:1:rain", f"0.7:2:{NAMES[2]}"]]]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"labels": ()}, "a different name for each label"),
        ({"labels": ("a", "a", "b")}, "a different name for each label"),
        ({"thresholds": (0.5,)}, "1 thresholds for 3 labels"),
        ({"kind": "probabilities"}, "3 thresholds for 3 labels of the kind probabilities"),
        ({"dtype": "int64", "thresholds": ()}, "int64 holds no probabilities"),
    ],
)
def test_labels_that_do_not_fit_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        changed(**changes)


@pytest.mark.parametrize(("task", "kind"), [("classify", "labels"), ("multilabel", "values")])
def test_the_task_and_the_first_output_belong_together(task: str, kind: str) -> None:
    with pytest.raises(ValueError, match="the task multilabel and the kind labels belong together"):
        Manifest.model_validate(
            {
                "task": task,
                "inputs": [{"name": "x"}],
                "outputs": [{"name": "y", "kind": kind, "dims": [1], "labels": ["a"]}],
            }
        )
