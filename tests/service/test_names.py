"""The names that clients may use."""

import pytest

from service.errors import InvalidField
from service.names import (
    MAX_STEP,
    MODEL_NAME,
    MODEL_VERSION,
    SESSION_NAME,
    TENANT_NAME,
    check_session_name,
    file_of_session,
    is_session_name,
    v2_session_name,
)


@pytest.mark.parametrize(
    "name", ["a", "call-42", "...", ".a", "..a", "!", "~", "a" * 128, "a b".replace(" ", ":")]
)
def test_session_names(name: str) -> None:
    assert SESSION_NAME.fullmatch(name)
    assert check_session_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "é", "a\n", "a\0", "a" * 129, "v2/m", "v2//1"])
def test_other_session_names_are_refused(name: str) -> None:
    assert not is_session_name(name)
    with pytest.raises(InvalidField) as raised:
        check_session_name(name, "/to")
    assert raised.value.pointer == "/to"


def test_every_sequence_id_of_v2_has_a_session_of_its_own() -> None:
    names = [v2_session_name(model, id) for model in ("a", "b") for id in (42, "42", "s/42", " x ~")]
    assert len(set(names)) == len(names)
    for name in names:
        assert check_session_name(name) == name
        assert not SESSION_NAME.fullmatch(name), "no name of /predict"


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("vowels", True),
        ("9.a_b-c", True),
        ("a" * 128, True),
        ("a" * 129, False),
        (".a", False),
        ("", False),
        ("a/b", False),
    ],
)
def test_model_names(name: str, is_valid: bool) -> None:
    assert bool(MODEL_NAME.fullmatch(name)) is is_valid


@pytest.mark.parametrize(
    ("version", "is_valid"),
    [("1", True), ("999999999", True), ("0", False), ("01", False), ("1a", False), ("", False)],
)
def test_model_versions(version: str, is_valid: bool) -> None:
    assert bool(MODEL_VERSION.fullmatch(version)) is is_valid


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [("acme", True), ("a" * 63, True), ("a" * 64, False), ("_a", False), ("", False), ("a\0", False)],
)
def test_tenant_names(name: str, is_valid: bool) -> None:
    assert bool(TENANT_NAME.fullmatch(name)) is is_valid


def test_the_largest_step_is_exact_as_a_double() -> None:
    assert int(float(MAX_STEP)) == MAX_STEP
    assert float(MAX_STEP + 1) == float(MAX_STEP + 2), "the first integer that JSON may change"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("call-42", "call-42.cgs"),
        ("v2/vowels/s/a b", "v2_vowels_s_a_b.cgs"),
        ("...", "_...cgs"),
        (f"v2/{'m' * 128}/s/{'x' * 128}", f"v2_{'m' * 128}_s_{'x' * 117}.cgs"),
        ('a";x=\\%22', "a__x___22.cgs"),
    ],
)
def test_the_file_of_a_session_is_safe_in_a_header_and_in_a_folder(name: str, file: str) -> None:
    assert is_session_name(name) and file_of_session(name) == file
