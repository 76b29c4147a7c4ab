"""What the API shows of a version: from the same numbers as /metrics, over all workers."""

import asyncio
from pathlib import Path

from service.metrics import Calls, Metrics, Registry, Requests, Scrape, Timed


def test_a_versions_totals_are_of_all_workers_and_of_no_other_version(tmp_path: Path) -> None:
    workers = [Metrics(Registry(tmp_path)) for _ in range(2)]

    async def sample() -> None:
        for metrics in workers:
            metrics.registry.flush()

    for number, metrics in enumerate(workers):
        calls = Calls(metrics, "m", "1")
        for sequences in (1, 3, 4):
            calls.add(sequences, 8, 0.25)
        Calls(metrics, "m", "2").add(1, 1, 9.0)
        requests = Requests(metrics)
        requests.add("/predict", 200, {"model": "m", "version": "1"}, 0.5)
        requests.add("/v2", 422, {"model": "m", "version": "1", "code": "wrong_shape"}, 0.125)
        requests.add("/predict", 422, {"code": "invalid_json"}, 7.0)
        metrics.stages.labels("queue", "m", "1").observe(0.0625)
        metrics.steps.labels("m", "1").add(30)
        metrics.padded_steps.labels("m", "1").add(10)
        metrics.queue_sequences.labels("m", "1").set(2)
        metrics.last_call.labels("m", "1").set(100 + number)

    totals = asyncio.run(Scrape(workers[0], sample).versions())
    found = totals("m", "1")
    assert (found.success, found.fail) == (Timed(2, 1.0), Timed(2, 0.25))
    assert found.stages == {"queue": Timed(2, 0.125)}
    assert found.calls == Timed(6, 1.5) and found.sequences == 16
    assert found.by_sequences == {1: Timed(2, 0.5), 4: Timed(4, 1.0)}
    assert (found.steps, found.padded_steps, found.padding) == (60, 20, 0.25)
    assert (found.waiting, found.last_call) == (4, 101.0)
    assert totals("m", "2").calls == Timed(2, 18.0)
    unused = totals("other", "1")
    assert (unused.calls, unused.padding, unused.last_call) == (Timed(), 0.0, 0.0)
