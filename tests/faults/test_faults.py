"""A short campaign on each store; `make faults` runs more.

120 histories are enough for every driver, fault and outage to occur: the second half waits until each kind of
outage has begun, and each driver has about twenty of them.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.faults.campaign import CLUSTERS, run
from tests.faults.history import DriverName
from tests.redis_server import needs_redis

SEED = int(os.environ.get("FAULTS_SEED", "1"))
HISTORIES = int(os.environ.get("FAULTS_HISTORIES", "120"))
STORES = [pytest.param(name, marks=needs_redis) if name == "redis" else name for name in sorted(CLUSTERS)]


@pytest.mark.promise(2, 4, 5, 12)
@pytest.mark.parametrize("store", STORES)
def test_under_faults_no_step_is_lost_or_applied_twice_and_no_bit_differs(store: str, tmp_path: Path) -> None:
    print(f"FAULTS_SEED={SEED} FAULTS_HISTORIES={HISTORIES}")  # noqa: T201  shown if the test fails
    tally = asyncio.run(run(store, tmp_path, seed=SEED, numbers=range(HISTORIES)))
    print(tally)  # noqa: T201
    assert not tally.violations, "\n".join(tally.violations)
    assert tally.histories == HISTORIES
    assert all(tally.outages.values()) and all(tally.faults.values()), f"some did not occur:\n{tally}"
    assert len(tally.drivers) == len(DriverName) and len(tally.cuts) == 2, f"some did not occur:\n{tally}"
