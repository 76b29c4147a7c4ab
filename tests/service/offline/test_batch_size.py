"""The size of calls: each is tried in turn, and the fastest stays."""

import pytest

from service.offline.batch_size import ROUNDS, BatchSize


@pytest.mark.parametrize(("cost", "expected"), [({32: 1.0, 64: 2.0}, 32), ({32: 2.0, 64: 1.0}, 64)])
def test_the_fastest_size_stays(cost: dict[int, float], expected: int) -> None:
    size, used = BatchSize(64), []
    for number in range(10):
        used.append(size.next)
        slow = 5.0 if number < 2 else 0.0  # a disturbed round decides nothing
        size.measured(10 * (cost[size.next] + slow), 10)
    assert used == [32, 64] * ROUNDS + [expected] * (10 - 2 * ROUNDS)


def test_a_limit_of_one_is_kept() -> None:
    size = BatchSize(1)
    for _ in range(6):
        assert size.next == 1
        size.measured(1.0, 1)
