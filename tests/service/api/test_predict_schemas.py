"""The codec accepts what /docs says, and nothing else: for `/predict` and for `/generate`."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.api.generate_schemas import GenerateBody
from service.api.predict_schemas import PredictBody
from service.codec import generation, request
from service.errors import BadInput
from service.manifest import InputSpec, Manifest, OutputSpec

WIDTH = 2


def model(**spec: Any) -> Manifest:
    inputs = (InputSpec.model_validate({"name": "x"} | spec),)
    return Manifest(task="language", inputs=inputs, outputs=(OutputSpec(name="y", dims=(1,)),))


# One model for every kind of step, each as lenient as a model can be.
MODELS = [
    model(missing="nan"),
    model(missing="nan", dims=(WIDTH,)),
    model(missing="nan", dims=(WIDTH, WIDTH), kind="image"),
    model(missing="nan", dims=(WIDTH, WIDTH, WIDTH), kind="video"),
    model(kind="token", dtype="int64", vocabulary=("a", "b"), unknown=0, missing_token=1),
    *[model(dtype="bool", dims=dims) for dims in ((), (WIDTH,), (WIDTH, WIDTH), (WIDTH, WIDTH, WIDTH))],
]
ROWS, TOKENS = MODELS[1], MODELS[4]
SPEAKERS = [  # an input without a time axis, of each kind
    Manifest(task="label", inputs=(InputSpec(name="x"), spec), outputs=(OutputSpec(name="y"),))
    for spec in (
        InputSpec(name="speaker", per="sequence", missing="nan"),
        InputSpec(name="speaker", per="sequence", missing="nan", dims=(WIDTH,)),
        InputSpec(name="speaker", per="sequence", dtype="bool"),
        InputSpec(name="speaker", per="sequence", kind="token", dtype="int64", vocabulary=("a",), unknown=0),
    )
]
# Faults that only a model can know: the page describes every model at once.
OF_THE_MODEL = {"empty_sequence", "wrong_shape", "non_finite", "too_many_sequences", "sequence_too_long"}
JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, "x", "", 1, -1, 2.5, [], {}, [[]], {"a": 1}])
LEAF = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70), st.none(),
    st.sampled_from(["a", "", True, False, {}, []]),
)  # fmt: skip
STEP: st.SearchStrategy[Any] = st.one_of(
    LEAF,
    st.lists(LEAF, max_size=WIDTH),
    st.lists(st.one_of(LEAF, st.lists(LEAF, max_size=WIDTH)), min_size=WIDTH, max_size=WIDTH),
    st.lists(st.lists(st.lists(LEAF, max_size=WIDTH), max_size=WIDTH), max_size=WIDTH),
)
ROW = st.lists(st.floats(-9, 9), min_size=WIDTH, max_size=WIDTH)
STEPS = st.one_of(st.lists(ROW, min_size=1, max_size=3), st.lists(ROW, max_size=1), JUNK)
SESSION = st.one_of(st.sampled_from(["s", "call-42", "a/b", "", "x" * 129, "ü", "a b"]), JUNK)
SESSION_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "session": SESSION,
    "at": st.one_of(st.integers(-1, 3), st.just(2**53), JUNK),
    "end": JUNK,
    "state": st.one_of(st.fixed_dictionaries({"name": st.one_of(st.just("idle"), JUNK)}), JUNK),
    "rewinds": st.one_of(st.integers(-1, 3), st.just(2**53), JUNK),
    "z": JUNK,
}
OBJECT = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.one_of(STEPS, st.fixed_dictionaries({"x": STEPS})),
        "text": st.one_of(st.just("ab"), JUNK),
        **SESSION_FIELDS,
    },
)
GOOD = st.fixed_dictionaries(
    {"steps": st.lists(ROW, min_size=1, max_size=3), "session": st.just("s")},
    optional={
        "at": st.one_of(st.none(), st.integers(0, 2**53)),
        "end": st.booleans(),
        "rewinds": st.one_of(st.none(), st.integers(0, 2**53)),
    },
)
PREDICT = st.fixed_dictionaries(
    {"sequences": st.one_of(st.lists(st.one_of(STEPS, OBJECT, GOOD), max_size=3), JUNK)},
    optional={
        "model": st.one_of(st.just("m"), JUNK),
        "version": st.one_of(st.just("1"), JUNK),
        "return": st.one_of(
            st.sampled_from(["last", "all", "some"]),
            st.lists(st.sampled_from(["output", "state", "gates", "last", "all", "some", 1]), max_size=3),
            JUNK,
        ),
        "extra": JUNK,
        "trim_padding": st.one_of(st.booleans(), JUNK),
        "return_state": st.one_of(st.booleans(), JUNK),
        "outputs": st.one_of(st.lists(st.sampled_from(["y", "z", "", 1, None]), max_size=2), JUNK),
    },
)
GENERATE = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.one_of(st.text("ab", max_size=3), st.lists(JUNK, max_size=2), JUNK),
        "model": JUNK,
        "version": JUNK,
        "max_steps": st.one_of(st.sampled_from([0, 1, 2**53 - 1, 2**53]), JUNK),
        "temperature": st.one_of(st.sampled_from([0, 100, 100.5, -0.1, 0.7]), JUNK),
        "top_k": st.one_of(st.sampled_from([0, 1, 2**53]), JUNK),
        "seed": st.one_of(st.sampled_from([0, 2**53]), JUNK),
        "stop": st.one_of(
            st.lists(st.sampled_from(["a", 1, True, None]), max_size=3), st.just(["a"] * 65), JUNK
        ),
        "return_state": st.one_of(st.booleans(), JUNK),
        **SESSION_FIELDS,
    },
)


def error_of(body: bytes, manifest: Manifest = ROWS) -> BadInput | None:
    """The codec's first error about a body of `/predict`; None if it accepts every sequence."""
    try:
        document = request.parse(body, max_sequences=9)
        for index in range(len(document.sequences)):
            request.decode_item(document, index, manifest, max_steps=9)
    except BadInput as error:
        return error
    return None


def documents(schema: type[BaseModel], body: bytes) -> bool:
    """Whether the documented model accepts a body."""
    try:
        schema.model_validate_json(body)
    except ValidationError:
        return False
    return True


@example({"sequences": [{"steps": [[1, 2]], "text": None}]})
@example({"sequences": [{"steps": None, "text": "ab"}]})
@example({"sequences": [{"steps": {}}]})
@example({"sequences": [{"steps": [[1, 2]], "session": "s", "at": 2**53}]})
@settings(max_examples=300)
@given(st.one_of(PREDICT, JUNK))
def test_the_envelope_of_predict_is_documented_as_it_is_read(document: Any) -> None:
    body = json.dumps(document).encode()
    error = error_of(body)
    if error is None:
        assert documents(PredictBody, body)
    elif documents(PredictBody, body):
        # Whether a step is a row, a token or a text is the model's: the next test is about what is in a step.
        assert error.code in OF_THE_MODEL or _is_within_steps(error)


def _is_within_steps(error: BadInput) -> bool:
    parts = (error.pointer or "").split("/")
    return len(parts) > 3 and (parts[3].isdigit() or parts[3] in ("steps", "text"))


@pytest.mark.parametrize(
    "step",
    [
        1, 1.5, -0.0, 2**70, None, "a", "", True, {}, [], [[]], [1, None], [1, True], [1, "a"], [1, {}],
        [[1, 2], [3, 4]], [[1, 2], 3], [[1, 2], None], [[1, 2], []], [[[1, 2], [3, 4]], [[5, 6], [7, None]]],
        [[[1, "a"], [3, 4]], [[5, 6], [7, 8]]], [1, 2, 3], [[1, 2], [3]],
    ],
)  # fmt: skip
def test_each_kind_of_step_is_documented_as_some_model_takes_it(step: Any) -> None:
    check_step(step)


@settings(max_examples=300)
@given(STEP)
def test_a_step_is_documented_as_some_model_takes_it(step: Any) -> None:
    check_step(step)


def check_step(step: Any) -> None:
    body = json.dumps({"sequences": [[step]]}).encode()
    errors = [error_of(body, manifest) for manifest in MODELS]
    if any(error is None for error in errors):
        assert documents(PredictBody, body)
    elif documents(PredictBody, body):
        assert any(error is not None and error.code in OF_THE_MODEL for error in errors) or _is_token(step)


@pytest.mark.parametrize(
    "value", [1, 2.5, True, None, "a", "b", [1, 2], [1, None], [1, True], [], {}, [[1]], [{}]], ids=str
)
def test_an_input_without_time_axis_is_documented_as_some_model_takes_it(value: Any) -> None:
    body = json.dumps({"sequences": [{"steps": {"x": [1], "speaker": value}}]}).encode()
    errors = [error_of(body, manifest) for manifest in SPEAKERS]
    if any(error is None for error in errors):
        assert documents(PredictBody, body)
    elif documents(PredictBody, body):
        assert all(error is not None and _is_within_steps(error) for error in errors)


def _is_token(step: Any) -> bool:
    """Whether a step is a token id: of which models have as many as their vocabulary has."""
    return type(step) is int


VALUES: dict[str, list[Any]] = {
    "prompt": ["", "a", [], ["a", 1], [None], [True], [1.5], None, 1, {}],
    "max_steps": [0, 1, 2**53 - 1, 2**53, 1.0, None, True, "1"],
    "temperature": [0, 100, 100.1, -0.1, 1, None, True, "1"],
    "top_k": [0, 1, 2**53 - 1, 2**53, None, True, 1.0],
    "seed": [-1, 0, 2**53 - 1, 2**53, None, True, 1.0],
    "state": [
        None,
        "",
        "token",
        {"name": "idle"},
        {"name": ""},
        {"name": 1},
        {},
        {"name": "a", "b": 1},
        1,
        [],
    ],
    "return_state": [True, False, None, 1, "true"],
    "stop": [[], ["a"] * 64, ["a"] * 65, [1, "a"], [None], [True], [1.0], None, "a"],
}


@pytest.mark.parametrize(
    "fields", [{field: value} for field, values in VALUES.items() for value in values], ids=str
)
def test_each_field_of_generate_is_documented_as_it_is_read(fields: dict[str, Any]) -> None:
    check_generate({"prompt": "a"} | fields)


@settings(max_examples=300)
@given(GENERATE)
def test_the_body_of_generate_is_documented_as_it_is_read(document: Any) -> None:
    check_generate(document)


def check_generate(document: Any) -> None:
    body = json.dumps(document).encode()
    try:
        generation.parse(body)
    except BadInput:
        assert not documents(GenerateBody, body)
    else:
        assert documents(GenerateBody, body)


@pytest.mark.parametrize("body", [b"", b"{", b'{"sequences": [[[1, 1]', b"\xff"])
def test_neither_accepts_what_is_not_json(body: bytes) -> None:
    error = error_of(body)
    assert error is not None and error.code == "invalid_json"
    assert not documents(PredictBody, body) and not documents(GenerateBody, body)


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"zz": 1}, "/zz"),
    ({"model": 1}, "/model"),
    ({"version": []}, "/version"),
    ({"session": "a/b"}, "/session"),
    ({"session": 1}, "/session"),
    ({"session": "s", "at": -1}, "/at"),
    ({"session": "s", "at": "0"}, "/at"),
    ({"session": "s", "end": None}, "/end"),
    ({"state": 1}, "/state"),
    ({"state": {}}, "/state/name"),
    ({"state": {"name": 1}}, "/state/name"),
    ({"state": {"h": 1}}, "/state/h"),
    ({"return_state": 1}, "/return_state"),
    ({"at": 0}, ""),
    ({"end": True}, ""),
]


@pytest.mark.parametrize(("fields", "pointer"), FIELDS)
def test_predict_and_generate_report_the_same_mistake_in_the_same_words(
    fields: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(BadInput) as of_generate:
        generation.parse(json.dumps({"prompt": "a"} | fields).encode())
    in_item = fields.keys() & {"session", "at", "end", "state"}
    if in_item:
        body: dict[str, Any] = {"sequences": [{"steps": [[1, 2]]} | fields]}
        prefix = "/sequences/0"
    else:
        body, prefix = {"sequences": [[[1, 2]]]} | fields, ""
    of_predict = error_of(json.dumps(body).encode())
    assert of_predict is not None and type(of_predict) is type(of_generate.value)
    assert of_predict.pointer == prefix + pointer and of_generate.value.pointer == pointer
    # An unknown field's message lists the known ones, which differ.
    assert of_predict.detail.partition(";")[0] == of_generate.value.detail.partition(";")[0]
