"""Histories in the tests: some hundred of each kind. `python -m tests.faults` runs as many as you like."""

import os
import random
from dataclasses import replace

import pytest

from tests.faults.histories import Log, Plan, Violation
from tests.faults.run import KINDS, run
from tests.redis_server import needs_redis

SEED = int(os.environ.get("FAULTS_SEED", "1"))
HISTORIES = int(os.environ.get("FAULTS_HISTORIES", "400"))


@pytest.mark.parametrize("kind", [KINDS[0], pytest.param(KINDS[1], marks=needs_redis)])
def test_whatever_breaks_no_step_is_lost_or_applied_twice_and_no_bit_differs(kind: str) -> None:
    print(f"FAULTS_SEED={SEED} FAULTS_HISTORIES={HISTORIES}")  # noqa: T201  shown when it fails
    tally = run(kind, SEED, HISTORIES)
    print(tally)  # noqa: T201
    assert tally.histories == HISTORIES
    assert sum(tally.disasters.values()) > 3 and len(tally.mishaps) > 3, "it was too quiet"


@pytest.fixture
def sound() -> tuple[Log, list[list[float]]]:
    """A life as it should be, and the one-shot run's outputs."""
    plan = replace(Plan.draw("s", random.Random(0)), ends=False, cuts=[2], rows=[[0.0]] * 5)
    outputs = [[float(step)] for step in range(5)]
    log = Log(plan, [outputs[:2], outputs[2:]], [2, 5], 5)
    log.check(outputs)
    return log, outputs


def test_a_lost_step_is_seen(sound: tuple[Log, list[list[float]]]) -> None:
    log, outputs = sound
    log.steps[1] = 4
    with pytest.raises(Violation, match="is at step 4"):
        log.check(outputs)


def test_a_step_applied_twice_is_seen(sound: tuple[Log, list[list[float]]]) -> None:
    log, outputs = sound
    log.outputs[1] = [[2.0], [2.0], [3.0]]
    with pytest.raises(Violation, match="differ from the one-shot"):
        log.check(outputs)
    log, outputs = replace(log, outputs=[outputs[:2], outputs[2:]], final_step=7), outputs
    with pytest.raises(Violation, match="ended up at 7"):
        log.check(outputs)


def test_a_changed_bit_is_seen(sound: tuple[Log, list[list[float]]]) -> None:
    log, outputs = sound
    log.outputs[0] = [[0.0], [1.0000000000000002]]
    with pytest.raises(Violation, match="differ from the one-shot"):
        log.check(outputs)
