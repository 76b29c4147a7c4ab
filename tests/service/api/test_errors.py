"""The documented errors of a route are made from its classes, in the dialect of its API."""

from service.api.errors import describe, errors
from service.errors import (
    BodyTooLarge,
    InvalidField,
    SessionCapacity,
    StoreUnavailable,
    UnknownModel,
    WrongShape,
)
from service.http.dialects import V2


def test_classes_of_one_status_share_a_response() -> None:
    responses = errors(InvalidField, WrongShape, SessionCapacity, is_health=True)
    assert list(responses) == [422, 503]
    assert responses[422]["description"] == describe((InvalidField, WrongShape))
    assert list(responses[422]["content"]) == ["application/problem+json"]


def test_a_line_holds_code_and_meaning() -> None:
    assert describe([UnknownModel]) == "- `unknown_model`: No model of that name is loaded."


def test_every_route_but_health_has_the_errors_of_the_gate() -> None:
    assert {401, 429, 500, 503} == errors().keys()
    assert not errors(is_health=True)
    assert BodyTooLarge.status in errors(has_body=True)


def test_a_class_is_listed_once() -> None:
    responses = errors(StoreUnavailable, StoreUnavailable, is_health=True)
    assert responses[503]["description"].count("store_unavailable") == 1


def test_an_error_in_the_place_of_its_class_is_the_sample_of_the_route() -> None:
    own = InvalidField("unknown field 'modell'", pointer="/modell")
    for kinds in ((InvalidField, own), (own, InvalidField)):
        (response,) = errors(*kinds, is_health=True).values()
        assert response["description"] == describe([InvalidField])
        examples = response["content"]["application/problem+json"]["examples"]
        assert examples == {"invalid_field": {"summary": "Invalid field", "value": own.problem()}}


def test_v2_reports_422_as_400_in_its_own_form() -> None:
    responses = errors(InvalidField, dialect=V2, is_health=True)
    assert list(responses) == [400] and list(responses[400]["content"]) == ["application/json"]
