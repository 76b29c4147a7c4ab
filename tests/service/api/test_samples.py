"""The samples on /docs are real: each fits its schema, and has the fields of a real reply."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from service.api import (
    event_samples,
    forecast,
    generate_schemas,
    predict_schemas,
    samples,
    schemas,
    sequence_schemas,
    steering,
    v2_schemas,
)
from service.api.v2 import EXTENSIONS
from service.codec.events import END, EventId
from service.repository import policy
from tests.service.api.parts import Api
from tests.service.events import joined

ROOT = Path(__file__).parents[3]


def schema_of(name: str) -> type[BaseModel]:
    for module in (
        forecast,
        generate_schemas,
        predict_schemas,
        schemas,
        sequence_schemas,
        steering,
        policy,
        v2_schemas,
    ):
        if hasattr(module, name):
            schema: type[BaseModel] = getattr(module, name)
            return schema
    raise AssertionError(f"no schema {name}")


@pytest.mark.parametrize("name", samples.BY_SCHEMA)
def test_a_sample_fits_its_schema_with_every_field(name: str) -> None:
    """Also those that are not in the schema: pydantic ignores them in a reply."""
    sample = samples.BY_SCHEMA[name]
    read = schema_of(name).model_validate(sample).model_dump(mode="json", exclude_unset=True)
    assert read == sample


def test_the_sample_of_the_server_has_its_extensions() -> None:
    assert samples.BY_SCHEMA["ServerMetadata"]["extensions"] == EXTENSIONS


@pytest.mark.parametrize("sample", [event_samples.PREDICT_EVENTS, event_samples.GENERATE_EVENTS])
def test_the_events_of_a_sample_amount_to_a_reply(sample: str) -> None:
    events = [dict(line.split(": ", 1) for line in event.split("\n")) for event in sample.split("\n\n")[:-1]]
    reply = joined([(event["event"], event["data"].encode()) for event in events])
    predict_schemas.PredictReply.model_validate(reply) if "predictions" in reply else (
        generate_schemas.GenerateReply.model_validate(reply)
    )
    ids = [event["id"] for event in events]
    assert [EventId.parse(each).done for each in ids[:-1]] == list(range(1, len(ids))) and ids[-1] == END


@pytest.mark.parametrize("path", samples.BY_PATH)
def test_the_sample_of_a_path_has_the_form_of_its_reply(api: Api, path: str) -> None:
    method = "POST" if path == "/v2/repository/index" else "GET"
    real = api.request(method, path.format(name="vowels", version=1)).json()
    assert form_of(samples.BY_PATH[path]) == form_of(real)


@pytest.mark.parametrize(
    ("path", "schema"),
    [("/v2", "ServerMetadata"), ("/v2/models/vowels", "ModelMetadata"), ("/models", "ModelsReply")],
)
def test_the_sample_of_a_schema_has_no_field_that_a_reply_lacks(api: Api, path: str, schema: str) -> None:
    assert keys_of(samples.BY_SCHEMA[schema]) <= keys_of(api.request("GET", path).json())


def test_every_sample_of_the_committed_model_names_the_session_of_the_readme() -> None:
    """A session belongs to one model, so those of other models have other names."""
    bodies = [
        *samples.BY_SCHEMA.values(),
        *(example["value"] for example in predict_schemas.PREDICT_EXAMPLES.values()),
        *(example["value"] for example in v2_schemas.INFER_EXAMPLES.values()),
    ]
    text = json.dumps([body for body in bodies if body and "letters" not in body.values()])
    named = re.findall(r'"(?:session|sequence_id|to|next)": "([^"]+)"', text)
    assert set(named) == {"call-42", "call-42-what-if"} and len(named) > 6
    assert 'session("call-42"' in (ROOT / "README.md").read_text()


def form_of(value: Any) -> Any:
    """Names and types, without values."""
    if isinstance(value, dict):
        return {name: form_of(entry) for name, entry in value.items()}
    return [form_of(value[0])] if isinstance(value, list) and value else type(value)


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """The paths of all names in objects, of lists those of the first entry."""
    if isinstance(value, list):
        return keys_of(value[0], f"{prefix}/0") if value else set()
    if not isinstance(value, dict):
        return set()
    nested = [keys_of(entry, f"{prefix}/{name}") for name, entry in value.items()]
    return {f"{prefix}/{name}" for name in value}.union(*nested)
