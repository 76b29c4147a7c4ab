"""Steps by name: each record is the row that the description makes of it, or an error at its place."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.records import decode_steps
from service.codec.request import decode_item, parse
from service.errors import InvalidField
from service.manifest import Manifest
from tests.service.codec.bodies import decode
from tests.service.oven_model import MANIFEST, MODES

OVEN = Manifest.model_validate(MANIFEST)
GAPS = Manifest.model_validate(
    MANIFEST | {"inputs": [MANIFEST["inputs"][0] | {"missing": "nan"}, MANIFEST["inputs"][1]]}
)
RECORD: dict[str, Any] = {"temperature": 1.5, "mode": "run", "at": "2026-01-01T00:00"}


def body(*records: Any) -> dict[str, Any]:
    return {"sequences": [{"steps": list(records)}]}


def refusal(*records: Any, model: Manifest = OVEN) -> tuple[str | None, str]:
    with pytest.raises(InvalidField) as caught:
        decode(body(*records), model)
    return caught.value.pointer, caught.value.detail


VALUES = st.tuples(st.floats(-9, 9, width=32), st.sampled_from([*MODES, "unseen"]))


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_records_are_the_rows_that_they_describe(values: list[tuple[float, str]]) -> None:
    records = [RECORD | {"temperature": number, "mode": mode} for number, mode in values]
    item = decode(body(*records), OVEN)
    rows = {"numbers": [[number, 0] for number, _ in values], "mode": [mode for _, mode in values]}
    other = decode({"sequences": [{"steps": rows}]}, OVEN)
    for ours, theirs in zip(item.inputs, other.inputs, strict=True):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()
    assert item.times is not None and item.times.values == ("2026-01-01T00:00",) * len(values)
    assert item.digest(False) != other.digest(False)  # one is no retry of the other


def test_what_a_record_lacks_is_null_where_the_model_takes_it() -> None:
    bare = {"at": "2026-01-01T00:00"}
    item = decode(body(RECORD, bare, RECORD | {"temperature": "NA", "mode": ""}), GAPS)
    assert np.isnan(item.inputs[0][1:, 0]).all() and item.inputs[1].tolist() == [2, 1, 1]
    assert refusal(RECORD, bare) == (
        "/sequences/0/steps/1", "no value of 'temperature', and the model takes no missing values there"
    )  # fmt: skip


def test_a_number_is_the_category_that_is_written_so() -> None:
    item = decode(body(RECORD | {"mode": 7}, RECORD | {"mode": "7"}), OVEN)
    assert item.inputs[1].tolist() == [3, 3]
    assert refusal(RECORD, RECORD | {"mode": 3})[0] == "/sequences/0/steps/1/mode"


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"heat": 1}, "/1/heat", "the table has no column 'heat'; it has 'at', 'mode', 'note', 'oven', "),
        ({"since_previous": 1}, "/1/since_previous", "the table has no column 'since_previous'"),
        ({"temperature": "41"}, "/1/temperature", "expected a number, got a string"),
        ({"temperature": None}, "/1/temperature", "null: this model takes no missing values"),
        ({"temperature": 1e39}, "/1/temperature", "does not fit into float32"),
        ({"at": None}, "/1/at", "expected a time (ISO 8601) in 'at', got null"),
        ({"at": True}, "/1/at", "expected a time (ISO 8601) in 'at', got a boolean"),
        ({"oven": "b"}, "/1/oven", "'b' is another sequence than None"),
        ({"mode": ["run"]}, "/1/mode", "expected a category, got a list"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_fault_is_reported_where_it_is(change: dict[str, Any], pointer: str, detail: str) -> None:
    at, text = refusal(RECORD, RECORD | change)
    assert at == f"/sequences/0/steps{pointer}" and detail in text


def test_a_fault_is_found_by_a_name_with_slashes() -> None:
    named = json.loads(json.dumps(MANIFEST).replace('"mode"', '"mode/0/of"'))
    named["inputs"].append(named["inputs"][1] | {"name": "mode/0", "tensor": "category_1"})
    named["table"]["columns"].append({"name": "mode/0", "kind": "category", "input": "mode/0"})
    del named["example"]
    model = Manifest.model_validate(named)
    record = {"temperature": 1, "mode/0/of": "run", "mode/0": "run", "at": RECORD["at"]}
    for name, escaped in (("mode/0/of", "mode~10~1of"), ("mode/0", "mode~10")):
        assert refusal(record, record | {name: ["run"]}, model=model)[0] == f"/sequences/0/steps/1/{escaped}"


def test_a_refusal_names_some_of_many_columns() -> None:
    wide = Manifest.model_validate(
        MANIFEST | {"table": MANIFEST["table"] | {"unused": [f"column {n}" for n in range(10_000)]}}
    )
    pointer, detail = refusal(RECORD | {"heat~/": 1}, model=wide)
    assert pointer == "/sequences/0/steps/0/heat~0~1" and detail.endswith(", …") and len(detail) < 500


def test_a_step_that_is_no_record_and_a_record_without_a_time() -> None:
    assert refusal(RECORD, [1, 2])[0] == "/sequences/0/steps/1"
    assert "got nothing" in refusal({"temperature": 1, "mode": "run"})[1]


def test_records_of_a_model_without_a_table_are_refused() -> None:
    plain = Manifest.model_validate({name: MANIFEST[name] for name in ("task", "inputs", "outputs")})
    with pytest.raises(InvalidField):
        decode_steps([RECORD], plain, "", 9)


def test_a_large_body_of_records_is_read_as_a_small_one() -> None:
    """Large bodies are read by another parser."""
    records = [RECORD | {"temperature": n / 8} for n in range(400)]
    decoded = decode_steps(records, OVEN, "", 1000)
    item = decode_item(parse(json.dumps(body(*records)).encode(), max_sequences=1), 0, OVEN, max_steps=1000)
    assert (item.inputs[0] == decoded.inputs[0]).all() and len(item.inputs[0]) == 400
