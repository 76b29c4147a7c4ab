"""The OpenAPI document: routes, their errors, samples, and links that work behind any proxy."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from service.api import error_samples, samples
from service.http.dialects import dialect_of
from tests.service.api.parts import Api

CREATED = samples.BY_SCHEMA["CreateSessionBody"]


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    names = document["components"]["schemas"].keys()
    references = [part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]]
    assert references and set(references) <= names


def test_every_error_is_in_the_form_of_its_api(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        expected = ("application/json", "V2Error") if path.startswith("/v2") else (
            "application/problem+json", "Problem",
        )  # fmt: skip
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                ((kind, content),) = response["content"].items()
                assert (kind, content["schema"]["$ref"].rpartition("/")[2]) == expected, (
                    path,
                    method,
                    status,
                )
                assert response["description"].startswith("- `"), (path, method, status)


def test_v2_has_no_status_422(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert not (path.startswith("/v2") and "422" in operation["responses"]), (path, method)


def test_a_route_lists_the_codes_of_the_errors_it_raises(document: dict[str, Any]) -> None:
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert "`session_conflict`" in responses["409"]["description"]
    assert "`overloaded`" in responses["503"]["description"]
    assert "`session_capacity`" in responses["503"]["description"]
    assert "`generation_not_supported`" in json.dumps(document["paths"]["/generate"])


def test_health_needs_no_key_and_all_else_documents_the_lack_of_one(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        is_health = "/health/" in path or path.endswith("/ready")
        assert ("401" in operation["responses"]) == (not is_health), (path, method)
        assert ("security" in operation) == (not is_health), (path, method)


def test_a_body_can_be_too_large_too_slow_or_of_another_type(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            assert {"408", "413", "415"} <= operation["responses"].keys(), (path, method)


def test_the_page_loads_nothing_from_other_servers(api: Api) -> None:
    page = api.request("GET", "/docs")
    assert page.status_code == 200 and "url: 'openapi.json'" in page.text
    assert "cdn" not in page.text and "//unpkg" not in page.text
    assert api.request("GET", "/").headers["location"] == "docs"


def test_the_temperature_is_described_as_it_works(document: dict[str, Any]) -> None:
    described = document["components"]["schemas"]["GenerateBody"]["properties"]["temperature"]["description"]
    assert described.startswith("below 1, likely tokens become likelier")


def test_a_version_is_a_parameter_of_the_paths_that_have_one(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        named = {(parameter["name"], parameter["in"]) for parameter in operation.get("parameters", [])}
        in_path = {name for name, where in named if where == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}, (path, method)
        assert not path.startswith("/v2/models") or {where for _, where in named} <= {"path"}, (path, method)
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                assert parameter["schema"]["type"] == "string", "generators take no other type"


def test_no_schema_makes_generators_drop_a_route_or_require_an_optional_field(
    document: dict[str, Any],
) -> None:
    """Recursive lists, defaults, and types of bodies that generators do not know."""
    for name, schema in document["components"]["schemas"].items():
        assert f'schemas/{name}"' not in json.dumps(schema), name
        assert "$defs" not in schema, name
        assert not any("default" in field for field in schema.get("properties", {}).values()), name
    known = {"application/json", "application/problem+json", "application/octet-stream", "text/plain"}
    known |= {"text/event-stream"}
    for path, method, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            kinds = {kind.partition(";")[0] for kind in body.get("content", {})}
            assert kinds <= known | {"application/openmetrics-text"}, (path, method, kinds)


def test_every_path_parameter_has_an_example_that_its_sample_replies_agree_with(
    document: dict[str, Any],
) -> None:
    of_path: dict[str, set[str]] = {}
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                assert parameter.get("example"), (path, method, parameter["name"])
                of_path.setdefault(parameter["name"], set()).add(parameter["example"])
    model = samples.BY_SCHEMA["ModelReply"]
    session = samples.BY_SCHEMA["SessionReply"]["session"]
    assert of_path == {"name": {model["name"]}, "version": {model["version"]}, "session": {session}}


def test_every_route_that_reads_answers_as_the_page_opens_it(api: Api, document: dict[str, Any]) -> None:
    """With the sample of a new session sent first, as the page offers it."""
    created = api.request("PUT", opened(document, "/sessions/{session}", "put"), json=CREATED)
    assert created.status_code == 201
    get = [path for path, method, _ in operations(document) if method == "get"]
    read = [path for path in get if path != "/stream"]  # a WebSocket, which the page cannot open
    assert len(read) > 15
    for path in read:
        assert api.request("GET", opened(document, path, "get")).status_code == 200, path


def opened(document: dict[str, Any], path: str, method: str) -> str:
    """The path that "Try it out" sends: with the examples of its parameters."""
    parameters = document["paths"][path][method].get("parameters", [])
    return path.format(**{each["name"]: each["example"] for each in parameters if each["in"] == "path"})


def test_every_body_and_reply_has_a_sample(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(document):
        replies = [reply for status, reply in operation["responses"].items() if int(status) < 300]
        for body in (operation.get("requestBody", {}), *replies):
            content = body.get("content", {}).get("application/json", {"example": {}})
            schema = schemas.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
            assert {"example", "examples"} & (content.keys() | schema.keys()), (path, method)


def test_every_error_of_every_route_has_samples_of_its_status_and_codes(document: dict[str, Any]) -> None:
    checks = {
        name: Draft202012Validator(document["components"]["schemas"][name]) for name in ("Problem", "V2Error")
    }
    by_code = {kind.code: kind for kind in error_samples.BY_CLASS}
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                (content,) = response["content"].values()
                listed = re.findall(r"^- `(\w+)`", response["description"], re.MULTILINE)
                assert listed == list(content["examples"]) and listed, (path, method, status)
        assert error_examples(operation) or path.endswith("/health/live"), (path, method)
        for status, value in error_examples(operation):
            kind = by_code[value["code"]]
            assert dialect_of(path).status_of(kind) == int(status), (path, method, value)
            if path.startswith("/v2"):
                checks["V2Error"].validate(value)
            else:
                checks["Problem"].validate(value)
                assert (value["status"], value["title"]) == (int(status), kind.title), (path, method, value)


def test_the_samples_are_of_every_class_that_a_route_raises_and_no_two_say_the_same(
    document: dict[str, Any],
) -> None:
    values = [value for _, _, operation in operations(document) for _, value in error_examples(operation)]
    assert {value["code"] for value in values} == {kind.code for kind in error_samples.BY_CLASS}
    details = [error.detail for error in error_samples.BY_CLASS.values()]
    assert len(set(details)) == len(details)


def test_the_pointer_of_a_sample_leads_into_the_body_of_its_route(document: dict[str, Any]) -> None:
    schemas, pointers = document["components"]["schemas"], set()
    for path, method, operation in operations(document):
        body = operation.get("requestBody", {"content": {}})["content"].get("application/json", {})
        schema = schemas.get(body.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
        for _, example in error_examples(operation):
            if "pointer" in example:
                pointers.add(example["pointer"])
                is_known = example["pointer"].split("/")[1] in schema["properties"]
                assert is_known != ("unknown field" in example["detail"]), (path, method, example)
    assert {"/sequences/0/steps/7", "/max_steps"} <= pointers


def error_examples(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The documented status and body of each sample."""
    return [
        (status, example["value"])
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for content in response["content"].values()
        for example in content["examples"].values()
    ]


def test_the_export_of_a_session_is_a_download(document: dict[str, Any]) -> None:
    response = document["paths"]["/sessions/{session}/export"]["get"]["responses"]["200"]
    assert response["content"] == {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    assert response["headers"]["Content-Disposition"]["example"] == 'attachment; filename="call-42.cgs"'
