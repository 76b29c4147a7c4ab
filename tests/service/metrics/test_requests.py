"""Requests by the labels that the server chooses."""

from service.metrics import Metrics, Registry, Requests, add_up
from service.stages import STAGES, Stages


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


def test_the_stages_of_answered_requests_are_counted_by_version() -> None:
    metrics = Metrics(Registry())
    requests = Requests(metrics)
    stages = Stages()
    for place, name in enumerate(STAGES):
        setattr(stages, f"{name}_s", float(place))
    for model in ("m", "m", "n"):
        requests.add("/predict", 200, {"model": model, "version": "2"}, 1.0, stages)
    requests.add("/predict", 503, {"code": "overloaded"}, 0.125)
    metrics.registry.flush()
    totals = add_up(metrics.registry.described, metrics.registry.read)["cellgate_stage_duration_seconds"]
    assert {labels: (sum(counts), seconds) for labels, (*counts, seconds) in totals.items()} == {
        (name, model, "2"): (count, count * place)
        for model, count in (("m", 2), ("n", 1))
        for place, name in enumerate(STAGES)
    }
