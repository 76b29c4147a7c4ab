"""The client's tree of errors mirrors the server's."""

import httpx
import pytest

import service.errors
from cellgate import errors
from cellgate.errors import ResponseError
from cellgate.replies import error_in, error_of
from service.errors import CellgateError as ServersError

BY_PROXIES = {"replica_lost", "replica_silent"}


def tree(root: type[ServersError]) -> set[type[ServersError]]:
    return {root}.union(*(tree(child) for child in root.__subclasses__()))


# Some classes below StartupError are in modules that only other tests import.
NOT_SENT = {ServersError, *tree(service.errors.StartupError)}
SENT = sorted(tree(ServersError) - NOT_SENT, key=lambda error: error.code)


@pytest.mark.parametrize("theirs", SENT, ids=lambda error: error.code)
def test_every_code_of_the_server_is_a_class_of_the_same_name(theirs: type[ServersError]) -> None:
    ours = ResponseError.by_code()[theirs.code]
    assert ours.__name__ == theirs.__name__
    parents = {parent.__name__ for parent in theirs.__mro__} & {
        e.__name__ for e in ResponseError.by_code().values()
    }
    assert parents <= {parent.__name__ for parent in ours.__mro__}
    assert isinstance(error_in({"code": theirs.code, "status": theirs.status, "detail": "d"}), ours)


def test_the_client_knows_no_other_code() -> None:
    assert set(ResponseError.by_code()) - {error.code for error in SENT} == BY_PROXIES


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadInput), (401, errors.Unauthorized), (403, errors.Forbidden), (404, errors.NotFound),
        (409, errors.Conflict), (410, errors.SessionGone), (418, errors.BadInput), (429, errors.TooMany),
        (500, errors.ServerError), (502, errors.Unavailable), (503, errors.Unavailable),
        (504, errors.DeadlineExceeded), (599, errors.ServerError),
    ],
)  # fmt: skip
def test_a_code_of_a_newer_server_is_the_class_of_its_status(status: int, kind: type[ResponseError]) -> None:
    assert type(error_in({"code": "new", "status": status})).__mro__.index(kind) <= 2


def test_an_error_says_code_text_and_place() -> None:
    pointer = "/sequences/0/steps/7"
    problem = {"code": "wrong_shape", "status": 422, "detail": "expected 12 numbers", "pointer": pointer}
    error = error_in(problem, request_id="r-1")
    assert str(error) == "422 wrong_shape: expected 12 numbers at /sequences/0/steps/7"
    assert (error.pointer, error.step, error.reason, error.request_id) == (
        pointer,
        None,
        None,
        "r-1",
    )


def test_the_error_of_v2_and_of_a_proxy() -> None:
    request = httpx.Request("POST", "http://x/v2/models/m/infer")
    v2 = error_of(httpx.Response(400, json={"error": "no input", "code": "invalid_field"}, request=request))
    assert isinstance(v2, errors.InvalidField) and v2.detail == "no input"
    page = error_of(httpx.Response(502, text="<html>Bad Gateway</html>", request=request))
    assert isinstance(page, errors.ReplicaLost) and "Bad Gateway" in page.detail
    empty = error_of(httpx.Response(503, request=request))
    assert empty is not None and empty.detail == "Service Unavailable"
