"""Messages of a stream: binary frames, openings, replies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import frames
from service.codec.frames import HEAD, BinaryForm
from service.errors import BadFrame, CellgateError, InvalidField, SessionConflict
from service.manifest import Manifest
from tests.service.codec.bodies import CODES
from tests.service.predict.parts import LETTERS, SPEAKERS

ROWS = Manifest.model_validate(
    {
        "task": "forecast",
        "inputs": [{"name": "x", "dims": [2]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1]}],
        "outputs": [{"name": "y", "dims": [1]}],
    }
)
FORM = BinaryForm(ROWS, keep_all=False, max_steps=5)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def frame(
    numbers: Any,
    *,
    channel: int = 0,
    flags: int = 0,
    steps: int | None = None,
    at: int = 0,
    dtype: str = "<f4",
) -> bytes:
    array = np.asarray(numbers, dtype)
    return HEAD.pack(channel, flags, len(array) if steps is None else steps, at) + array.tobytes()


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=5), st.integers(0, 2**53 - 1), st.booleans())
def test_a_frame_is_decoded_as_it_was_written(rows: list[tuple[float, float]], at: int, end: bool) -> None:
    decoded = FORM.decode(frame(rows, flags=2 | end, at=at))
    assert decoded.inputs[0].tolist() == np.array(rows, np.float32).tolist()
    assert (decoded.at, decoded.end, decoded.steps) == (at, end, len(rows))
    other = FORM.decode(frame(rows, flags=2 | (not end), at=at))
    assert decoded.digest != other.digest and decoded.digest == FORM.decode(frame(rows, flags=end)).digest


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_an_error_of_the_client(payload: bytes) -> None:
    try:
        frames.channel_of_binary(payload)
        FORM.decode(payload)
    except CellgateError as error:
        assert error.status in (400, 422)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (frame([[1, 2]], steps=0), "empty_sequence"),
        (frame([[1, 2]] * 6), "sequence_too_long"),
        (frame([[1, 2]], steps=2), "wrong_shape"),
        (frame([[1, 2]]) + b"x", "wrong_shape"),
        (frame([[1, np.nan]]), "non_finite"),
        (frame([[-np.inf, 1]]), "non_finite"),
        (frame([[1, 2]], flags=4), "bad_frame"),
        (frame([[1, 2]])[:3] + b"\1" + frame([[1, 2]])[4:], "bad_frame"),
        (frame([[1, 2]], flags=2, at=-1), "bad_frame"),
        (frame([[1, 2]], at=3), "bad_frame"),
    ],
)
def test_a_bad_frame_is_refused(payload: bytes, code: str) -> None:
    with pytest.raises(CellgateError) as refused:
        FORM.decode(payload)
    assert refused.value.code == code


def test_large_numbers_are_no_infinities() -> None:
    assert FORM.decode(frame([[3e38, -3e38]])).steps == 1


def test_token_ids_are_int64_and_checked() -> None:
    form = BinaryForm(LETTERS, keep_all=False, max_steps=5)
    assert form.decode(frame([0, 2, 1], dtype="<i8")).inputs[0].tolist() == [0, 2, 1]
    with pytest.raises(InvalidField, match="token id 3"):
        form.decode(frame([3], dtype="<i8"))


def test_numbers_for_the_categories_of_a_table_are_their_names() -> None:
    form = BinaryForm(CODES, keep_all=False, max_steps=5)
    assert form.decode(frame([0, 4, 1], dtype="<i8")).inputs[0].tolist() == [1, 3, 2]
    with pytest.raises(InvalidField, match="no category of 'x' is written 2") as caught:
        form.decode(frame([0, 2], dtype="<i8"))
    assert caught.value.pointer == "/steps/1"


def test_a_model_with_two_inputs_has_no_binary_frames() -> None:
    with pytest.raises(InvalidField, match="use JSON"):
        BinaryForm(SPEAKERS, keep_all=False, max_steps=5)


def test_a_frame_shorter_than_its_header_has_no_channel() -> None:
    with pytest.raises(BadFrame):
        frames.channel_of_binary(bytes(HEAD.size - 1))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"session": "a/b"},
        {"session": "s", "return": "first"},
        {"session": "s", "encoding": "binary", "outputs": ["y"]},
        {"session": "s", "encoding": "binary", "return_state": True},
        {"session": "s", "max_frames_in_flight": 0},
        {"session": "s", "max_frames_in_flight": True},
        {"session": "s", "at": -1},
        {"session": "s", "channel": 65536},
        {"session": "s", "unknown": 1},
    ],
)
def test_a_wrong_opening_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        frames.parse_opening(document)


@pytest.mark.parametrize(
    "document",
    [
        {"steps": [[1, 2]], "text": "x"},
        {"text": 1},
        {"steps": [[1, 2]], "at": 1.0},
        {"steps": [[1, 2]], "at": -1},
        {"steps": [[1, 2]], "end": 1},
        {"steps": [[1, 2]], "session": "s"},
    ],
)
def test_a_wrong_frame_in_json_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        frames.decode_frame(document, ROWS, keep_all=False, outputs=(), max_steps=5)


def test_a_message_that_closes_says_true_and_nothing_else() -> None:
    assert frames.is_close({"channel": 1, "close": True}) and not frames.is_close({"session": "s"})
    for document in ({"close": False}, {"close": True, "session": "s"}):
        with pytest.raises(InvalidField):
            frames.is_close(document)


def test_replies_are_sent_with_their_channel_and_marked_when_they_are_replayed() -> None:
    stored = frames.store_binary(np.array([1.5], np.float32), 1, 7, ended=True)
    for replayed in (False, True):
        sent = frames.write_binary(258, stored, replayed=replayed)
        assert HEAD.unpack_from(sent) == (258, 1 | 2 * replayed, 1, 7)
        assert np.frombuffer(sent, np.float32, offset=HEAD.size).tolist() == [1.5]
    assert frames.write_json(3, b'{"step":1}') == b'{"channel":3,"step":1}'
    assert frames.write_json(3, b'{"step":1}', replayed=True) == b'{"channel":3,"step":1,"replayed":true}'
    assert b'"step":4' in frames.write_error(0, SessionConflict("x", members={"step": 4}), closed=True)
