"""A sequence in a file is read as `/predict` reads it, whichever way it is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.synthetic import data_of, encoded_data
from tests.training.test_encoders import network_for as encoded_network_for
from tests.training.test_inputs import network_for
from training.data import tokens
from training.data.dataset import Input
from training.export.example import steps_of
from training.sequence_file import SequenceFileError, read

NUMBERS = (Input(features=("a", "b")),)
FILM = (Input("film", kind="video", frame=(2, 3)),)
LETTERS = (tokens.learn_characters(["abc "]),)


def written(folder: Path, told: Any) -> Path:
    path = folder / "sequence.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


def test_every_form_says_the_same(tmp_path: Path) -> None:
    data = data_of("forecast")
    due = data.test.sequences[0]
    steps = steps_of(network_for(data), due)
    assert isinstance(steps, dict)
    words = data.inputs[1].vocabulary
    by_name = {**steps, "sky": [words[number] for number in steps["sky"]]}
    for told in (
        steps,
        by_name,
        {"steps": steps},
        {"steps": steps, "session": "s", "at": 0},
        {"model": "m", "sequences": [{"steps": steps}, {"steps": 7}], "return": "all"},
    ):
        np.testing.assert_array_equal(read(written(tmp_path, told), data.inputs), due)


def test_frames_are_read(tmp_path: Path) -> None:
    data = encoded_data()
    due = data.test.sequences[0]
    steps = steps_of(encoded_network_for(data), due)
    np.testing.assert_array_equal(read(written(tmp_path, steps), data.inputs), due)


def test_the_example_of_the_docs_is_read(repository: Path) -> None:
    path = repository / "docs" / "examples" / "utterance.json"
    inputs = (Input(features=tuple(f"lpc_cepstrum_{number}" for number in range(1, 13))),)
    assert read(path, inputs).tolist() == np.float32(json.loads(path.read_text())["sequences"][0]).tolist()


@pytest.mark.parametrize(
    "told",
    [
        "cab",
        ["c", "a", "b"],
        {"text": "cab"},
        {"x": "cab"},
        {"steps": "cab"},
        {"sequences": [{"text": "cab"}]},
    ],
    ids=str,
)
def test_a_text_becomes_its_tokens(told: Any, tmp_path: Path) -> None:
    ids = read(written(tmp_path, json.dumps(told)), LETTERS)
    assert [LETTERS[0].vocabulary[int(number)] for number in ids[:, 0]] == ["c", "a", "b"]


def test_a_word_that_is_not_known_is_the_unknown_one(tmp_path: Path) -> None:
    words = (tokens.learn_words(["the cat"], size=9),)
    assert read(written(tmp_path, {"text": "the dog"}), words)[:, 0].tolist() == [2, 0]
    assert read(written(tmp_path, ["the", "dog"]), words)[:, 0].tolist() == [2, 0]


def test_padding_is_trimmed_where_the_body_asks_for_it(tmp_path: Path) -> None:
    body = {"sequences": [[[1, 0], [0, 0], [2, 1], [0, 0]]], "trim_padding": True}
    assert read(written(tmp_path, body), NUMBERS).tolist() == [[1, 0], [0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("inputs", "told", "why"),
    [
        (NUMBERS, "[[1, 2", r"sequence\.json"),
        (NUMBERS, [], "x: a sequence needs at least one step"),
        (NUMBERS, 7, "x: expected a list of rows, got int"),
        (NUMBERS, [[1, 2], [3]], "x, step 1: expected 2 numbers, got 1"),
        (NUMBERS, [[1, "2"]], "x, step 0, place 1: expected a number, got '2'"),
        (NUMBERS, [[1, True]], "expected a number, got True"),
        (NUMBERS, "[[1, NaN]]", "expected a number, got nan"),
        (NUMBERS, [[1, None]], "x, step 0, place 1: null, where no number may be missing"),
        (FILM, [[[1, 2, 3], [4, 5]]], "film, step 0, place 1: expected 3 numbers, got 2"),
        (FILM, [[1, 2, 3, 4, 5, 6]], "film, step 0: expected 2 rows, got 6"),
        (LETTERS, ["a", "z"], "x, step 1: 'z' is no token of 4"),
        (LETTERS, [0, True], "x, step 1: True is no token of 4"),
        (LETTERS, [0, 4], "x, step 1: 4 is no token of 4"),
        (LETTERS, {"text": "az"}, "x: the tokenizer cannot read it"),
        (data_of("language").inputs, {"text": "ab"}, "x takes no text"),
        (
            data_of("forecast").inputs,
            {"x": [[1, 2]]},
            r"expected the inputs \['hour', 'sky', 'x'\], got \['x'\]",
        ),
        (
            data_of("forecast").inputs,
            {"x": [[1, 2]], "sky": [0, 1], "hour": [[1]]},
            "unequal numbers of steps: x 1, sky 2, hour 1",
        ),
    ],
)
def test_a_file_that_does_not_fit_says_where(
    inputs: tuple[Input, ...], told: Any, why: str, tmp_path: Path
) -> None:
    with pytest.raises(SequenceFileError, match=why):
        read(written(tmp_path, told), inputs)


def test_tokens_that_nobody_saw_and_nulls_are_read_as_the_input_says(tmp_path: Path) -> None:
    kinds = Input("k", kind="token", vocabulary=("<other>", "<missing>", "a"), unknown=0, missing=1)
    path = written(tmp_path, ["a", "of tomorrow", None, 2])
    assert read(path, (kinds,)).ravel().tolist() == [2, 0, 1, 2]
