"""A short campaign, and each request that once failed; `make fuzz` sends more."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.e2e.server import Server
from tests.fuzz.campaign import CASES, is_fault, replay, run, target
from tests.fuzz.mutate import MUTATIONS, Mutation, mutated
from tests.fuzz.seeds import seeds

SEED = int(os.environ.get("FUZZ_SEED", "1"))
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "3000"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with target(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


def test_every_valid_request_is_answered(server: Server) -> None:
    async def statuses() -> list[int]:
        return [int((await replay(server, request.raw()))[9:12]) for request in seeds()]

    refused = [
        (request.method, request.path, status)
        for request, status in zip(seeds(), asyncio.run(statuses()), strict=True)
        if status >= 300 and "/import" not in request.path  # of a graph that is not loaded
    ]
    assert not refused


def test_no_mutated_request_is_answered_with_an_error_of_the_servers_own(server: Server) -> None:
    print(f"FUZZ_SEED={SEED} FUZZ_REQUESTS={REQUESTS}")  # noqa: T201  shown if the test fails
    tally = asyncio.run(run(server, requests=REQUESTS, seed=SEED))
    print(tally)  # noqa: T201
    assert not tally.faults, "\n".join(tally.faults)
    assert {200, 400, 401, 404, 405, 422} <= set(tally.statuses), tally
    assert tally.unanswered < tally.sent / 2


@pytest.mark.parametrize("case", sorted(CASES.glob("*.http")), ids=lambda path: path.stem)
def test_what_once_failed_does_not_fail_again(server: Server, case: Path) -> None:
    answer = asyncio.run(replay(server, case.read_bytes()))
    assert answer.startswith(b"HTTP/1.1 ") and not is_fault(answer), answer[:500]


def test_a_seed_gives_the_same_requests() -> None:
    first, second = ([mutated(rng, seeds()).raw() for _ in range(200)] for rng in (Random("1"), Random("1")))
    assert first == second and len(set(first)) > 150


@pytest.mark.parametrize("change", list(dict.fromkeys(MUTATIONS)), ids=lambda change: change.__name__)
def test_each_mutation_changes_every_seed_sooner_or_later(change: Mutation) -> None:
    rng = Random(1)
    for seed in seeds():
        raw = seed.raw()
        for _ in range(100):
            change(rng, seed, seeds())
            if seed.raw() != raw:
                break
        else:
            raise AssertionError(raw)


def test_a_mutation_leaves_other_seeds_as_they_are() -> None:
    """The handshake's headers were one dictionary: what changed it made the valid request an invalid one."""
    before = [seed.raw() for seed in seeds()]
    for seed in seeds():
        seed.headers["Connection"] = "changed"
    assert [seed.raw() for seed in seeds()] == before


def test_an_error_of_the_servers_own_is_found() -> None:
    assert is_fault(b'HTTP/1.1 500 Internal Server Error\r\n\r\n{"code":"internal"}')
    assert is_fault(b'HTTP/1.1 200 OK\r\n\r\n{"predictions":[{"error":{"status":500,"code":"internal"}}]}')
    assert not is_fault(b'HTTP/1.1 500 Internal Server Error\r\n\r\n{"code":"non_finite_output"}')
    assert not is_fault(b"HTTP/1.1 422 Unprocessable Content\r\n\r\n{}")
