"""One wording, pointer and class for each mistake in a field."""

from typing import Any

import numpy as np
import pytest

from service.codec import fields
from service.errors import InvalidField, InvalidJson


def test_a_body_is_an_object() -> None:
    assert fields.parse_object(b'{"a": 1}') == {"a": 1}
    with pytest.raises(InvalidField, match="expected an object, got a list") as raised:
        fields.parse_object(b"[1]")
    assert raised.value.pointer == ""


@pytest.mark.parametrize("literal", [b"NaN", b"-Infinity"])
def test_a_literal_that_is_not_json_is_named(literal: bytes) -> None:
    with pytest.raises(InvalidJson, match="NaN and Infinity are not JSON"):
        fields.parse_object(b'{"a": ' + literal + b"}")
    with pytest.raises(InvalidJson) as raised:
        fields.parse_object(b"{")
    assert "NaN" not in raised.value.detail


def test_an_unknown_field_is_pointed_at_and_the_known_ones_are_listed() -> None:
    fields.refuse_unknown({"a": 1}, {"a", "b"})
    with pytest.raises(InvalidField, match="unknown field; expected one of a, b") as raised:
        fields.refuse_unknown({"c/d~e": 1}, {"b", "a"}, "/sequences/0")
    assert raised.value.pointer == "/sequences/0/c~1d~0e"


def test_strings_are_optional_and_flags_are_booleans() -> None:
    assert fields.read_string({}, "model") is fields.read_string({"model": None}, "model") is None
    assert fields.read_flag({}, "end") is False and fields.read_flag({"end": True}, "end") is True
    for value in (1, None, "true"):
        with pytest.raises(InvalidField, match="expected true or false"):
            fields.read_flag({"end": value}, "end")
    with pytest.raises(InvalidField, match="expected a string, got a number") as raised:
        fields.read_string({"model": 1}, "model")
    assert raised.value.pointer == "/model"


def test_the_fields_of_a_session_need_one() -> None:
    assert fields.read_session({}) == (None, None, False)
    assert fields.read_session({"session": "s", "at": 2**53 - 1, "end": True}) == ("s", 2**53 - 1, True)
    for members in ({"at": 0}, {"end": True}):
        with pytest.raises(InvalidField, match='"at" and "end" need a "session"') as raised:
            fields.read_session(members, "/sequences/1")
        assert raised.value.pointer == "/sequences/1"


def test_a_state_is_a_token_or_a_name() -> None:
    assert fields.read_state({}) is fields.read_state({"state": None}) is None
    assert fields.read_state({"state": "AQ"}, "/x") == fields.GivenState("AQ", False, "/x/state")
    assert fields.read_state({"state": {"name": "idle"}}) == fields.GivenState("idle", True, "/state")
    for state, pointer, message in [
        ([], "/x/state", 'expected a state token, or {"name": …}, got an empty list'),
        ({}, "/x/state/name", "expected a string, got nothing"),
        ({"name": None}, "/x/state/name", "expected a string, got null"),
        ({"h": [1]}, "/x/state/h", "unknown field; expected one of name"),
    ]:
        with pytest.raises(InvalidField) as raised:
            fields.read_state({"state": state}, "/x")
        assert (raised.value.pointer, raised.value.detail) == (pointer, message)


def test_the_number_of_rewinds_is_optional_and_needs_a_session() -> None:
    assert fields.read_rewinds({"session": "s"}) is fields.read_rewinds({"rewinds": None}) is None
    assert fields.read_rewinds({"session": "s", "rewinds": 2**53 - 1}) == 2**53 - 1
    for value, actual in ((-1, "-1"), (2**53, str(2**53)), (True, "a boolean"), (1.0, "a number")):
        with pytest.raises(InvalidField, match=f"from 0 to 2\\^53-1, got {actual}") as raised:
            fields.read_rewinds({"session": "s", "rewinds": value}, "/sequences/1")
        assert raised.value.pointer == "/sequences/1/rewinds"
    with pytest.raises(InvalidField, match='"rewinds" needs a "session"') as raised:
        fields.read_rewinds({"rewinds": 0}, "/sequences/1")
    assert raised.value.pointer == "/sequences/1"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({}, "an object"),
        ([], "an empty list"),
        ([1], "a list"),
        (np.zeros((1, 1)), "a list"),
        ("x", "a string"),
        ("", "an empty string"),
        (True, "a boolean"),
        (None, "null"),
        (1, "a number"),
        (1.5, "a number"),
    ],
    ids=str,
)
def test_a_value_is_called_by_its_json_type(value: Any, name: str) -> None:
    assert fields.kind(value) == name
