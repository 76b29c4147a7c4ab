"""A sequence in a file is read like a `/predict` request, in any of its forms."""

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


def written(folder: Path, content: Any) -> Path:
    path = folder / "sequence.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_form_gives_the_same_sequence(tmp_path: Path) -> None:
    data = data_of("forecast")
    expected = data.test.sequences[0]
    steps = steps_of(network_for(data), expected)
    assert isinstance(steps, dict)
    words = data.inputs[1].vocabulary
    by_name = {**steps, "sky": [words[number] for number in steps["sky"]]}
    for content in (
        steps,
        by_name,
        {"steps": steps},
        {"steps": steps, "session": "s", "at": 0},
        {"model": "m", "sequences": [{"steps": steps}, {"steps": 7}], "return": "all"},
    ):
        np.testing.assert_array_equal(read(written(tmp_path, content), data.inputs), expected)


def test_frames_are_read(tmp_path: Path) -> None:
    data = encoded_data()
    expected = data.test.sequences[0]
    steps = steps_of(encoded_network_for(data), expected)
    np.testing.assert_array_equal(read(written(tmp_path, steps), data.inputs), expected)


def test_the_example_of_the_docs_is_read(repository: Path) -> None:
    path = repository / "docs" / "examples" / "utterance.json"
    inputs = (Input(features=tuple(f"lpc_cepstrum_{number}" for number in range(1, 13))),)
    assert read(path, inputs).tolist() == np.float32(json.loads(path.read_text())["sequences"][0]).tolist()


@pytest.mark.parametrize(
    "content",
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
def test_a_text_becomes_its_tokens(content: Any, tmp_path: Path) -> None:
    ids = read(written(tmp_path, json.dumps(content)), LETTERS)
    assert [LETTERS[0].vocabulary[int(number)] for number in ids[:, 0]] == ["c", "a", "b"]


def test_a_number_for_a_category_of_a_table_is_its_name(tmp_path: Path) -> None:
    codes = (Input("x", kind="token", vocabulary=("<other>", "0", "2", "true"), unknown=0, numbers="tokens"),)
    assert read(written(tmp_path, [2, 0.0, "2", "9", True]), codes)[:, 0].tolist() == [2, 1, 2, 0, 3]
    with pytest.raises(SequenceFileError, match="x, step 1: 3 is not one of the 4 tokens"):
        read(written(tmp_path, [2, 3]), codes)


def test_an_unknown_word_becomes_the_unknown_token(tmp_path: Path) -> None:
    words = (tokens.learn_words(["the cat"], size=9),)
    assert read(written(tmp_path, {"text": "the dog"}), words)[:, 0].tolist() == [2, 0]
    assert read(written(tmp_path, ["the", "dog"]), words)[:, 0].tolist() == [2, 0]


def test_padding_is_trimmed_if_the_body_requests_it(tmp_path: Path) -> None:
    body = {"sequences": [[[1, 0], [0, 0], [2, 1], [0, 0]]], "trim_padding": True}
    assert read(written(tmp_path, body), NUMBERS).tolist() == [[1, 0], [0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("inputs", "content", "message"),
    [
        (NUMBERS, "[[1, 2", r"sequence\.json"),
        (NUMBERS, [], "x: a sequence needs at least one step"),
        (NUMBERS, 7, "x: expected a list of rows, got int"),
        (NUMBERS, [[1, 2], [3]], "x, step 1: expected 2 numbers, got 1"),
        (NUMBERS, [[1, "2"]], "x, step 0, place 1: expected a number, got '2'"),
        (NUMBERS, [[1, True]], "expected a number, got True"),
        (NUMBERS, "[[1, NaN]]", "expected a number, got nan"),
        (NUMBERS, [[1, None]], "x, step 0, place 1: null, but this input has no missing numbers"),
        (FILM, [[[1, 2, 3], [4, 5]]], "film, step 0, place 1: expected 3 numbers, got 2"),
        (FILM, [[1, 2, 3, 4, 5, 6]], "film, step 0: expected 2 rows, got 6"),
        (LETTERS, ["a", "z"], "x, step 1: 'z' is not one of the 4 tokens"),
        (LETTERS, [0, True], "x, step 1: True is not one of the 4 tokens"),
        (LETTERS, [0, 4], "x, step 1: 4 is not one of the 4 tokens"),
        (LETTERS, {"text": "az"}, "x: the tokenizer cannot read the text"),
        (data_of("language").inputs, {"text": "ab"}, "x accepts no text"),
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
def test_the_error_names_the_value_that_does_not_fit(
    inputs: tuple[Input, ...], content: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SequenceFileError, match=message):
        read(written(tmp_path, content), inputs)


def test_unknown_tokens_and_nulls_are_read_as_the_input_specifies(tmp_path: Path) -> None:
    kinds = Input("k", kind="token", vocabulary=("<other>", "<missing>", "a"), unknown=0, missing=1)
    path = written(tmp_path, ["a", "new", None, 2])
    assert read(path, (kinds,)).ravel().tolist() == [2, 0, 1, 2]
