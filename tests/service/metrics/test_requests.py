"""Requests by the labels that the server chooses."""

from service.metrics import Metrics, Registry, Requests, add_up


def test_requests_are_counted_by_route_version_status_and_code() -> None:
    metrics = Metrics(Registry())
    requests = Requests(metrics)
    for seconds in (0.25, 0.5):
        requests.add("/predict", 200, {"model": "m", "version": "2", "steps": 7}, seconds)
    requests.add("/predict", 503, {"code": "overloaded", "detail": "a text"}, 0.125)
    metrics.registry.flush()
    totals = add_up(metrics.registry.described, metrics.registry.read)["cellgate_request_duration_seconds"]
    assert {labels: (sum(counts), seconds) for labels, (*counts, seconds) in totals.items()} == {
        ("/predict", "m", "2", "200", "ok"): (2, 0.75),
        ("/predict", "", "", "503", "overloaded"): (1, 0.125),
    }
