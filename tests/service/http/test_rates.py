"""Requests per second of each tenant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RateLimited
from service.http.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.1, 500), st.lists(st.floats(0, 0.5), min_size=1, max_size=60))
def test_no_second_admits_more_than_rate_and_burst(rate: float, waits: list[float]) -> None:
    clock = Clock()
    rates = Rates({"acme": rate}, clock=clock)
    admitted: list[float] = []
    for wait in waits:
        clock.now += wait
        for _ in range(20):
            try:
                rates.count("acme")
            except RateLimited as error:
                assert error.retry_after_s is not None and error.retry_after_s >= 1
                break
            admitted.append(clock.now)
    for start in admitted:
        within = [at for at in admitted if start <= at < start + 1]
        assert len(within) <= 2 * rate + 1.1
    clock.now += 1 / rate + 1
    rates.count("acme")  # after a wait, requests are admitted again
    rates.count("beta")  # a tenant without a rate is always admitted


def test_workers_count_together(tmp_path: Path) -> None:
    shared, clock = tmp_path / "rates", Clock()
    shared.touch()
    workers = [Rates({"acme": 10.0}, shared, clock=clock) for _ in range(2)]
    for number in range(10):
        workers[number % 2].count("acme")
    for worker in workers:
        with pytest.raises(RateLimited):
            worker.count("acme")
