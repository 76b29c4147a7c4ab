"""The sums of a request's stages, on a clock that advances by one second at each reading."""

import itertools
import re

import pytest

from service.stages import STAGES, Stages


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("service.stages.perf_counter", lambda: float(next(ticks)))


def seconds_of(stages: Stages) -> dict[str, float]:
    return {name: getattr(stages, f"{name}_s") for name in STAGES}


def test_each_stage_is_the_time_since_the_one_before_and_all_add_up() -> None:
    stages = Stages()
    stages.decoded()
    stages.queued()
    stages.committed()
    stages.decoded()
    stages.computed(0.75)
    stages.encoded()
    stages.committed()
    stages.encoded()
    assert seconds_of(stages) == {"decode": 2, "queue": 1.25, "run": 0.75, "commit": 2, "encode": 2}


def test_several_sequences_add_up_but_wait_and_run_at_once() -> None:
    request, parts = Stages(), []
    request.decoded()
    for run_s in (0.25, 0.75, 0.5):
        part = Stages()
        part.decoded()
        if run_s == 0.75:
            part.queued()
        part.computed(run_s)
        part.encoded()
        parts.append(part)
    for part in parts:
        request.merge(part)
    request.encoded()
    taken = seconds_of(request)
    assert (taken["queue"], taken["run"]) == (1.25, 0.75), "of the sequence that took longest in both"
    last_end_to_now = 1
    assert (taken["decode"], taken["commit"], taken["encode"]) == (4, 0, 3 + last_end_to_now)


def test_the_header_has_milliseconds_to_the_microsecond() -> None:
    stages = Stages()
    stages.decode_s, stages.queue_s, stages.run_s, stages.encode_s = 51.4e-6, 1.5, 4e-7, 12.0
    assert stages.header() == (
        b"decode;dur=0.051, queue;dur=1500.000, run;dur=0.000, commit;dur=0.000, encode;dur=12000.000"
    )
    token, number = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", rb"[0-9]+(\.[0-9]+)?"
    for metric in stages.header().split(b", "):
        assert re.fullmatch(token + rb";dur=" + number, metric), "Server Timing, 3"


def test_fields_are_in_milliseconds_and_short_in_json() -> None:
    stages = Stages()
    stages.decode_s, stages.run_s = 51.4e-6, 0.0012349
    line: dict[str, float] = {}
    stages.add_to(line)
    assert line == {
        "decode_ms": 0.051,
        "queue_ms": 0.0,
        "run_ms": 1.234,
        "commit_ms": 0.0,
        "encode_ms": 0.0,
    }
    assert str(line["run_ms"]) == "1.234"
