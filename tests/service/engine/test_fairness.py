"""The law of fairness, in a simulation: time passes by the cost of calls, requests arrive at any time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.scheduler import MAX_FAVOURED, MIN_CHUNK, SLOWDOWN, Scheduler
from service.sequence import Origin, Sequence
from tests.service.fakes import SumEngine, cost_of, of_origin, ones

TARGET_S = 6e-3
FACTOR = 8  # of the law, in docs/batching.md
CALLS = 3


# Seconds: a call is worth up to 32 time steps, as on every processor measured.
COSTS = st.builds(
    lambda step, row, calls: (calls * (step + row), step, row),
    st.floats(1e-6, 1e-4),
    st.floats(1e-6, 1e-4),
    st.floats(1.0, 32.0),
)


@dataclass(eq=False)
class Request:
    """A request in the simulation."""

    arrives_s: float
    tenant: str
    lengths: list[int]
    sequences: list[Sequence] = field(default_factory=list)
    finished_s: dict[Sequence, float] = field(default_factory=dict)
    most_shares: int = 0  # tenants times requests of its tenant, at most, while it was computed

    @property
    def is_active(self) -> bool:
        return len(self.finished_s) < len(self.lengths)


class Simulation:
    """Runs requests through a scheduler. A call takes the time that the cost model predicts."""

    def __init__(self, scheduler: Scheduler, requests: Iterable[Request]) -> None:
        self.scheduler = scheduler
        self.now = 0.0
        self.longest_call_s = 0.0
        self.arriving = sorted(requests, key=lambda request: request.arrives_s)
        self.active: list[Request] = []
        self.requests: dict[Origin, Request] = {}

    def run(self) -> None:
        """Until all is computed."""
        engine = SumEngine()
        while self.arriving or self.active:
            self._admit()
            batch = self.scheduler.schedule(self.now)
            if batch is None:
                self.now = self.arriving[0].arrives_s
                continue
            engine.batches.clear()
            seconds = self.scheduler.cost.predict(len(batch.chunks), batch.steps)
            self.now += seconds
            self.longest_call_s = max(self.longest_call_s, seconds)
            for sequence in self.scheduler.commit(batch, engine.run(batch)):
                self.requests[sequence.origin].finished_s[sequence] = self.now
            self.active = [request for request in self.active if request.is_active]

    def _admit(self) -> None:
        while self.arriving and self.arriving[0].arrives_s <= self.now:
            request = self.arriving.pop(0)
            origin = Origin(request.tenant, num_sequences=len(request.lengths))
            self.active.append(request)
            self.requests[origin] = request
            for length in request.lengths:
                request.sequences.append(of_origin(origin, length))
                self.scheduler.add(request.sequences[-1])
        tenants = [request.tenant for request in self.active]
        for request in self.active:
            shares = len(set(tenants)) * tenants.count(request.tenant)
            request.most_shares = max(request.most_shares, shares)


def alone_s(scheduler: Scheduler, steps: int) -> float:
    """Seconds that a sequence takes alone."""
    cost = scheduler.cost
    chunk = max(MIN_CHUNK, min(scheduler.chunk_steps, int(cost.steps_within(TARGET_S, 1))))
    call_s = cost.predict(1, 0)
    return -(-steps // chunk) * call_s + cost.predict(1, steps) - call_s


def worst(simulation: Simulation, requests: Iterable[Request]) -> float:
    """The largest multiple of its share of the time that a request took, less some calls."""
    ratio = 0.0
    for request in requests:
        own_s = sum(alone_s(simulation.scheduler, length) for length in request.lengths)
        took_s = max(request.finished_s.values()) - request.arrives_s - CALLS * simulation.longest_call_s
        ratio = max(ratio, took_s / (request.most_shares * own_s))
    return ratio


def new_scheduler(coefficients: tuple[float, float, float], max_batch: int = 64) -> Scheduler:
    return Scheduler(
        max_batch=max_batch,
        chunk_steps=256,
        max_waiting=10**6,
        cost=cost_of(*coefficients),
        target_s=TARGET_S,
    )


LENGTHS = st.one_of(
    st.integers(1, 20).map(lambda steps: [steps]),
    st.integers(21, 600).map(lambda steps: [steps]),
    st.lists(st.integers(1, 60), min_size=2, max_size=12),
    st.integers(20, 200).map(lambda count: [1] * count),
)


REQUESTS = st.lists(
    st.builds(Request, st.floats(0, 0.05), st.sampled_from("aab"), LENGTHS), min_size=1, max_size=12
)


@given(REQUESTS, COSTS, st.sampled_from([1, 2, 8, 64]))
def test_a_request_takes_a_multiple_of_its_share_of_the_time_at_most(
    requests: list[Request], coefficients: tuple[float, float, float], max_batch: int
) -> None:
    """Whatever others send, and whenever: FACTOR · tenants · requests · its own time, and some calls."""
    simulation = Simulation(new_scheduler(coefficients, max_batch), requests)
    simulation.run()
    assert worst(simulation, requests) <= FACTOR


# An LSTM with 128 units, on one core (s): a call, a time step, a row's time step.
COEFFICIENTS = (40e-6, 8e-6, 2.5e-6)


@pytest.mark.parametrize("steps", [3, 100, 400])
def test_requests_of_a_thousand_sequences_do_not_delay_a_sequence_beyond_its_share(steps: int) -> None:
    """Four connections sent one after the other. Newcomers went first: 100 steps waited for all of them."""
    floods = [Request(number / 4e3, "", [1] * 1024) for number in range(8)]
    probe = Request(0.0025, "", [steps])
    simulation = Simulation(new_scheduler(COEFFICIENTS), [*floods, probe])
    simulation.run()
    assert worst(simulation, [probe]) <= SLOWDOWN
    flood_s = max(flood.finished_s[sequence] for flood in floods for sequence in flood.sequences)
    full_s = 8 * 1024 / 64 * simulation.scheduler.cost.predict(64, 1)
    assert flood_s <= 1.2 * full_s, "their calls are full all the same"


def test_a_step_does_not_wait_for_the_end_of_a_long_sequence() -> None:
    """The calls went to the first of the long ones, alone or with its like, until it had ended."""
    long = Request(0.0, "", [5000] * 4)
    probes = [Request(number / 40, "", [1]) for number in range(1, 40)]
    scheduler = new_scheduler((300e-6, 20e-6, 60e-6))
    scheduler.max_wait_s = 2.0
    simulation = Simulation(scheduler, [long, *probes])
    simulation.run()
    waited = [max(probe.finished_s.values()) - probe.arrives_s for probe in probes]
    assert max(waited) <= (MAX_FAVOURED + 3) * simulation.longest_call_s


def test_a_tenant_with_one_request_is_not_delayed_by_another_with_many() -> None:
    crowd = [Request(0.0, "a", [50]) for _ in range(500)]
    probe = Request(0.001, "b", [50])
    simulation = Simulation(new_scheduler(COEFFICIENTS, max_batch=8), [*crowd, probe])
    simulation.run()
    assert probe.most_shares == 2 and worst(simulation, [probe]) <= SLOWDOWN


def test_a_long_sequence_joins_no_call_of_short_ones_that_it_would_make_too_long() -> None:
    """It keeps its place: the next call is its own."""
    scheduler = new_scheduler((0.0, 0.0, 1e-3))  # six rows of a step fill a call
    short, long = [ones(1) for _ in range(3)], ones(100)
    for sequence in (*short, long):
        scheduler.add(sequence)
    engine = SumEngine()
    for expected in (short, [long]):
        batch = scheduler.schedule(0.0)
        assert batch is not None and [chunk.sequence for chunk in batch.chunks] == expected
        scheduler.commit(batch, engine.run(batch))


def test_a_call_that_cannot_be_cut_takes_each_sequence_whole() -> None:
    scheduler = Scheduler(max_batch=4, chunk_steps=8, max_waiting=9, cuts=False)
    for steps in (3, 50):
        scheduler.add(ones(steps))
    batch = scheduler.schedule(0.0)
    assert batch is not None and [chunk.steps for chunk in batch.chunks] == [3, 50]
