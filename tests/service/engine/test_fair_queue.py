"""The order of the queue, and what it counts, by tenant and by request."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from service.engine.fair_queue import START, FairQueue
from service.sequence import Origin, Sequence
from tests.service.fakes import ones


def sequence(steps: int, origin: Origin) -> Sequence:
    made = ones(steps)
    made.origin = origin
    return made


def take(queue: FairQueue) -> Sequence:
    taken = queue.take()
    assert taken is not None
    return taken


MOVES = st.lists(st.sampled_from(["take", "take and put back", "push", "requeue", "hasten"]), max_size=80)


@given(
    MOVES, st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), min_size=1, max_size=5), st.data()
)
def test_what_waits_is_counted_and_the_smallest_tag_is_first(
    moves: list[str], origins: list[tuple[str, int]], data: st.DataObject
) -> None:
    queue = FairQueue()
    requests = [Origin(tenant, num_sequences=count) for tenant, count in origins]
    waiting: list[Sequence] = []
    taken: list[Sequence] = []
    clock = 0.0
    for move in moves:
        if move == "push":
            pushed = sequence(data.draw(st.integers(1, 9)), data.draw(st.sampled_from(requests)))
            queue.push(pushed, data.draw(st.sampled_from([5.0, inf])))
            waiting.append(pushed)
        elif move == "hasten":
            queue.hasten(5.0)
        elif move == "requeue" and taken:
            again = taken.pop()
            if again.steps > again.done + 1:
                again.done += 1
                queue.requeue([again])
                waiting.append(again)
        elif move.startswith("take") and waiting:
            first = min(waiting, key=lambda each: (each.tag, each.number))
            assert queue.take() is first
            if move == "take":
                waiting.remove(first)
                queue.advance(first.remaining, queue.first_tag)
                queue.leave([first])
                taken.append(first)
            else:
                queue.put_back(first)
        assert queue.clock >= clock
        clock = queue.clock
        check_counts(queue, waiting)


def check_counts(queue: FairQueue, waiting: list[Sequence]) -> None:
    assert len(queue) == len(waiting)
    assert queue.work == sum(each.remaining + START * (not each.done) for each in waiting)
    assert queue.num_tenants == len({each.origin.tenant for each in waiting})
    for tenant in "ab":
        share = queue.share_of(sequence(1, Origin(tenant)))
        own = [each for each in waiting if each.origin.tenant == tenant]
        assert share.waiting == len(own)
        assert share.work == sum(each.remaining + START * (not each.done) for each in own)
        singles = sum(each.origin.num_sequences == 1 for each in own)
        assert share.singles == singles
        assert share.single_work == sum(
            each.remaining + START * (not each.done) for each in own if each.origin.num_sequences == 1
        )
        assert share.requests == singles + len({each.origin for each in own if each.origin.num_sequences > 1})


def test_sequences_of_one_request_follow_each_other_and_another_request_goes_between() -> None:
    queue = FairQueue()
    large, small = Origin(num_sequences=3), Origin()
    order = [sequence(2, large), sequence(2, large), sequence(2, large), sequence(2, small)]
    for each in order:
        queue.push(each, inf)
    taken = [order.index(take(queue)) for _ in order]
    assert taken == [0, 1, 3, 2], "as one of two requests, the small one is behind two sequences of the large"


def test_a_newcomer_is_not_put_behind_a_backlog_whatever_has_been_computed() -> None:
    queue = FairQueue()
    backlog = Origin("a", num_sequences=100)
    for _ in range(100):
        queue.push(sequence(2, backlog), inf)
    for _ in range(20):
        queue.advance(10**6, queue.first_tag)
        queue.leave([take(queue)])
    newcomer = sequence(2, Origin("b"))
    queue.push(newcomer, inf)
    queue.take()
    assert queue.take() is newcomer
