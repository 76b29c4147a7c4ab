"""What a loaded worker achieves, measured between the times that it is told."""

import pytest

from service.engine.throughput import DEVIATIONS, FIRST_WINDOW_S, WINDOW_S, Throughput


def run(throughput: Throughput, *, start: float, seconds: float, rate: float, call_s: float) -> float:
    """Work at `rate` a second in calls of a millisecond, `call_s` of which is the call; returns the end."""
    for number in range(round(seconds * 1e3) + 1):
        throughput.tick(start + number * 1e-3)
        throughput.add(round(rate * 1e-3), call_s)
    return start + seconds


def test_nothing_is_known_before_the_first_window_ends() -> None:
    throughput = Throughput()
    run(throughput, start=5.0, seconds=FIRST_WINDOW_S / 2, rate=1e4, call_s=1e-3)
    assert throughput.seconds is None and throughput.slowness == 1.0


def test_the_estimate_is_safe_at_first_and_approaches_the_rate() -> None:
    throughput = Throughput()
    now = run(throughput, start=0.0, seconds=2 * FIRST_WINDOW_S, rate=1e4, call_s=1e-3)
    first = throughput.seconds
    assert first == pytest.approx(1e-4 * (1 + DEVIATIONS / 4), rel=0.1)
    run(throughput, start=now, seconds=60 * WINDOW_S, rate=1e4, call_s=2.5e-4)
    assert throughput.seconds == pytest.approx(1e-4, rel=0.05)
    assert throughput.slowness == pytest.approx(4.0, rel=0.05)


def test_a_slower_worker_is_noticed_within_some_windows() -> None:
    throughput = Throughput()
    now = run(throughput, start=0.0, seconds=20 * WINDOW_S, rate=1e4, call_s=1e-3)
    run(throughput, start=now, seconds=3 * WINDOW_S, rate=2e3, call_s=1e-3)
    assert throughput.seconds is not None and throughput.seconds > 5e-4


def test_one_window_in_which_the_process_stood_still_is_hardly_believed() -> None:
    """On a busy machine a server refused requests for seconds after the kernel had not run it for one."""
    throughput = Throughput()
    now = run(throughput, start=0.0, seconds=20 * WINDOW_S, rate=1e4, call_s=1e-3)
    before = throughput.seconds
    assert before is not None
    run(throughput, start=now + 3.0, seconds=WINDOW_S / 2, rate=1e4, call_s=1e-3)
    assert throughput.seconds is not None and throughput.seconds < 2.5 * before
    first = Throughput()
    first.tick(0.0)
    first.add(10, 1e-3)
    assert first.tick(3.0) and first.seconds is not None
    assert first.seconds <= 2 * 4 * 1e-4, "four times its calls, and as much for the deviation"


def test_an_idle_worker_forgets_and_the_pause_is_not_counted() -> None:
    throughput = Throughput()
    run(throughput, start=0.0, seconds=1.0, rate=1e4, call_s=1e-3)
    throughput.forget()
    assert throughput.seconds is None
    run(throughput, start=100.0, seconds=1.0, rate=1e4, call_s=1e-3)
    assert throughput.seconds is not None and throughput.seconds < 3e-4
