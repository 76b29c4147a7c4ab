"""Health as a balancer asks for it: the routes of both APIs agree."""

import pytest

from service.errors import CellgateError, Draining, StoreUnavailable
from service.repository import Repository
from tests.service.api.parts import Api, Ready

PATHS = pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])


@PATHS
def test_ready_is_200(repository: Repository, path: str) -> None:
    assert Api(repository).request("GET", path).status_code == 200


@PATHS
def test_without_its_store_the_server_is_ready_only_for_requests_without_sessions(
    repository: Repository, path: str
) -> None:
    api = Api(repository, Ready(store_error=StoreUnavailable("down")))
    assert api.request("GET", f"{path}?sessions=false").status_code == 200
    with pytest.raises(StoreUnavailable):
        api.request("GET", path)


@PATHS
@pytest.mark.parametrize("query", ["", "?sessions=false"])
def test_a_server_that_stops_is_not_ready(repository: Repository, path: str, query: str) -> None:
    with pytest.raises(CellgateError) as raised:
        Api(repository, Ready(Draining("stopping"))).request("GET", path + query)
    assert raised.value.code == "draining" and (raised.value.retry_after_s or 0) >= 1


@pytest.mark.parametrize(
    ("path", "reply"), [("/health/live", {"status": "ok"}), ("/v2/health/live", {"live": True})]
)
def test_a_process_that_answers_is_live_even_if_it_is_not_ready(
    repository: Repository, path: str, reply: object
) -> None:
    response = Api(repository, Ready(Draining("stopping"))).request("GET", path)
    assert (response.status_code, response.json()) == (200, reply)
