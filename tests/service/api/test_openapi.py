"""The OpenAPI document: routes, their errors, samples, and links that work behind any proxy."""

import json
from typing import Any

import pytest

from tests.service.api.parts import Api


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
    for path, method, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            kinds = {kind.partition(";")[0] for kind in body.get("content", {})}
            assert kinds <= known | {"application/openmetrics-text"}, (path, method, kinds)
