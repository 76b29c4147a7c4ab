"""The two forms of an error, for every error there is."""

import json

import pytest

from service import errors
from service.errors import CellgateError, MethodNotAllowed
from service.http.dialects import PROBLEM, V2, dialect_of, render

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CellgateError) and value is not CellgateError
]


def build(kind: type[CellgateError]) -> CellgateError:
    """One of each class, with what its constructor requires."""
    error = kind.__new__(kind)
    CellgateError.__init__(error, "what was wrong", pointer="/a", retry_after_s=3, members={"step": 7})
    if isinstance(error, MethodNotAllowed):
        error.allow = ("GET",)
    return error


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_in_both_forms(kind: type[CellgateError]) -> None:
    problem, v2 = (render(build(kind), dialect) for dialect in (PROBLEM, V2))
    document = json.loads(problem.body)
    assert document["status"] == problem.status == kind.status
    assert (document["code"], document["detail"], document["pointer"]) == (kind.code, "what was wrong", "/a")
    assert document["step"] == 7 and document["title"] == kind.title
    assert v2.status == (400 if kind.status == 422 else kind.status), "the protocol has no 422"
    assert json.loads(v2.body) == {"error": "what was wrong", "code": kind.code, "step": 7}
    for response in (problem, v2):
        headers = dict(response.headers)
        assert headers[b"content-length"] == b"%d" % len(response.body)
        assert headers[b"retry-after"] == b"3"
        assert (headers.get(b"connection") == b"close") == kind.closes_connection
        assert response.log["code"] == kind.code
        assert ("detail" in response.log) == (kind.status >= 500), "what a client sent is not logged"


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/models/m"])
def test_paths_of_the_open_inference_protocol(path: str) -> None:
    assert dialect_of(path) is V2


@pytest.mark.parametrize("path", ["/", "/predict", "/v2x", "/v20/models", "/sessions/v2/m/1"])
def test_other_paths(path: str) -> None:
    assert dialect_of(path) is PROBLEM
