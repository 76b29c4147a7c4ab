"""What the hot path takes and what `/docs` says it takes are one contract."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.api import samples, schemas
from service.api import v2 as oip_routes
from service.api.schemas import PredictBody
from service.codec import request as codec
from service.errors import BadInput
from service.manifest import InputSpec, Manifest, OutputSpec

WIDTH = 2
MODEL = Manifest(
    task="classify",
    inputs=(InputSpec(name="x", dims=(WIDTH,)),),
    outputs=(OutputSpec(name="y", dims=(1,)),),
)
# What only a model can know: the schema describes every model at once.
OF_THE_MODEL = {"empty_sequence", "wrong_shape", "non_finite", "too_many_sequences", "sequence_too_long"}
JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, "x", "", 1, -1, 2.5, [], {}, [[]], {"a": 1}])
ROW = st.lists(st.floats(-9, 9), min_size=WIDTH, max_size=WIDTH)
STEPS = st.one_of(st.lists(ROW, min_size=1, max_size=3), st.lists(ROW, max_size=1), JUNK)
SESSION = st.one_of(st.sampled_from(["s", "call-42", "a/b", "", "x" * 129, "ü", "a b"]), JUNK)
OBJECT = st.fixed_dictionaries(
    {},
    optional={
        "steps": STEPS,
        "session": SESSION,
        "at": st.one_of(st.integers(-1, 3), JUNK),
        "end": JUNK,
        "z": JUNK,
    },
)
GOOD = st.fixed_dictionaries(
    {"steps": st.lists(ROW, min_size=1, max_size=3), "session": st.just("s")},
    optional={"at": st.one_of(st.none(), st.integers(0, 2**53)), "end": st.booleans()},
)
BODY = st.fixed_dictionaries(
    {"sequences": st.one_of(st.lists(st.one_of(STEPS, OBJECT, GOOD), max_size=3), JUNK)},
    optional={
        "model": st.one_of(st.just("m"), JUNK),
        "version": st.one_of(st.just("1"), JUNK),
        "return": st.one_of(st.sampled_from(["last", "all", "some"]), JUNK),
        "extra": JUNK,
        "trim_padding": st.one_of(st.booleans(), JUNK),
    },
)


def codec_error(body: bytes) -> str | None:
    """The first error's code, or None when every sequence is taken."""
    try:
        document = codec.parse(body, max_sequences=9)
        for index in range(len(document.sequences)):
            codec.decode_item(document, index, MODEL, max_steps=9)
    except BadInput as error:
        return error.code
    return None


def schema_accepts(body: bytes) -> bool:
    try:
        PredictBody.model_validate_json(body)
    except ValidationError:
        return False
    return True


@given(st.one_of(BODY, JUNK))
def test_what_the_codec_takes_is_documented_and_what_is_documented_the_codec_takes(document: Any) -> None:
    body = json.dumps(document).encode()
    code = codec_error(body)
    if code is None:
        assert schema_accepts(body)
    elif schema_accepts(body):
        # The schema leaves rows open: a token id, a row and a text are each right for some model.
        assert code in OF_THE_MODEL or _is_about_a_row(body)


def _is_about_a_row(body: bytes) -> bool:
    """Whether the codec's complaint lies inside the steps of a sequence."""
    try:
        document = codec.parse(body, max_sequences=9)
        for index in range(len(document.sequences)):
            codec.decode_item(document, index, MODEL, max_steps=9)
    except BadInput as error:
        parts = (error.pointer or "").split("/")
        return len(parts) > 3 and (parts[3].isdigit() or parts[3] == "steps")
    return False


@pytest.mark.parametrize("body", [b"", b"{", b'{"sequences": [[[1, 1]', b"\xff"])
def test_neither_takes_what_is_not_json(body: bytes) -> None:
    assert codec_error(body) == "invalid_json"
    assert not schema_accepts(body)


@pytest.mark.parametrize("name", samples.BY_SCHEMA)
def test_what_the_documentation_shows_fits_its_schema(name: str) -> None:
    schema: type[BaseModel] = getattr(schemas, name, None) or getattr(oip_routes, name)
    schema.model_validate(samples.BY_SCHEMA[name])
