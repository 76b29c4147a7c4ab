"""The law of a session: under any faults, each part is applied once, and no bit differs from one shot."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate import ConnectionFailed, SessionConflict, SessionExists, SessionGone, UnknownSession
from cellgate.predictions import Array
from cellgate.testing import Fault
from tests.cellgate.fakes import WIDTH, SleepyClock, async_client_of, client_of, fake_server, mix

cuts = st.lists(st.integers(1, 5), min_size=1, max_size=8)
faults = st.lists(st.sampled_from([None, *Fault]), max_size=25)
Outputs = list[Array]


def sequence(pieces: list[int]) -> Array:
    return np.random.default_rng(sum(pieces)).normal(size=(sum(pieces), WIDTH)).astype(np.float32)


def run_sync(pieces: list[int], injected: list[Fault | None]) -> tuple[Outputs, list[int]]:
    server, clock = fake_server(), SleepyClock()
    server.faults.extend(injected)
    x, outputs = sequence(pieces), []
    with client_of(server, clock, max_retry_s=1000).session("call-42") as session:
        for stop in np.cumsum(pieces):
            outputs.append(session.step(x[session.at : stop]).output)
    return outputs, [at for at, _ in server.sessions["call-42"].applied]


def run_async(pieces: list[int], injected: list[Fault | None]) -> tuple[Outputs, list[int]]:
    server, clock = fake_server(), SleepyClock()
    server.faults.extend(injected)
    x = sequence(pieces)

    async def steps() -> Outputs:
        async with async_client_of(server, clock).session("call-42") as session:
            return [(await session.step(x[session.at : stop])).output for stop in np.cumsum(pieces)]

    return asyncio.run(steps()), [at for at, _ in server.sessions["call-42"].applied]


@pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])
@given(pieces=cuts, injected=faults)
def test_under_any_faults_each_step_is_applied_once_and_no_bit_differs(
    run: Callable[[list[int], list[Fault | None]], tuple[Outputs, list[int]]],
    pieces: list[int],
    injected: list[Fault | None],
) -> None:
    outputs, applied = run(pieces, injected[:8])  # 8 faults in a row fit into `max_retry_s`
    stops = np.cumsum(pieces)
    assert applied == [0, *stops[:-1]]
    whole, _ = mix(sequence(pieces), None)
    for output, stop in zip(outputs, stops, strict=True):
        assert output.dtype == np.float32
        assert output.tobytes() == whole[stop - 1].tobytes()


def test_a_call_that_fails_leaves_its_place_and_the_same_part_again_is_applied_once() -> None:
    """Also where the part was applied, and only its replies were lost."""
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock, max_retry_s=0)
    session = client.session("call-42", at=0)
    client.model()  # the fault is for the step
    server.faults.append(Fault.LOSE_REPLY)
    with pytest.raises(ConnectionFailed):
        session.step([1, 2])
    assert session.at == 0
    assert session.step([1, 2]).step == 1
    assert len(server.sessions["call-42"].applied) == 1


def test_another_part_after_a_lost_reply_is_a_conflict_with_the_true_step() -> None:
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock, max_retry_s=0)
    session = client.session("call-42", at=0)
    client.model()  # the fault is for the step
    server.faults.append(Fault.LOSE_REPLY)
    with pytest.raises(ConnectionFailed):
        session.step([1, 2])
    with pytest.raises(SessionConflict) as conflict:
        session.step([3, 4])
    assert conflict.value.step == 1
    assert session.locate() == 1
    assert session.step([3, 4]).step == 2


def test_a_session_continues_where_another_client_left_it() -> None:
    server, clock = fake_server(), SleepyClock()
    with client_of(server, clock).session("call-42") as session:
        session.step(np.ones((3, WIDTH)))
    with client_of(server, clock).session("call-42") as again:
        assert again.at == 3
        assert again.step([0, 0]).step == 4


def test_two_clients_on_one_session_conflict_instead_of_mixing() -> None:
    server, clock = fake_server(), SleepyClock()
    first, second = (client_of(server, clock).session("call-42") for _ in range(2))
    first.step([1, 1])
    assert second.locate() == 1
    first.step([2, 2])
    with pytest.raises(SessionConflict, match="the session is at step 2, the request says 1"):
        second.step([3, 3])


def test_an_expired_session_is_not_started_anew_by_itself() -> None:
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock)
    client.session("call-42").step([1, 1])
    server.sessions["call-42"].status = "expired"
    with pytest.raises(SessionGone) as gone, client.session("call-42"):
        pass
    assert (gone.value.reason, gone.value.step) == ("expired", 1)
    assert client.session("call-42", at=0).step([1, 1]).step == 1


def test_after_its_end_a_name_is_free() -> None:
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock)
    session = client.session("call-42")
    server.faults.extend([None, None, Fault.LOSE_REPLY])
    assert session.step([1, 1], end=True).step == 1
    with client.session("call-42") as again:
        assert again.at == 0
        again.step([2, 2])
        again.delete()
        again.delete()
        assert again.at == 0
    assert "call-42" not in server.sessions


def test_a_name_that_another_session_has() -> None:
    client = client_of(fake_server(), SleepyClock())
    first = client.session("a")
    first.step([1, 1])
    fork = first.fork("b")
    assert fork.at == 1
    with pytest.raises(SessionExists) as exists:
        first.fork("b")
    assert exists.value.step == 1
    with pytest.raises(UnknownSession):
        client.session("c").stored()


def test_a_second_part_while_one_is_in_flight_is_refused() -> None:
    """Both would carry the same `at`."""
    server, clock = fake_server(), SleepyClock()
    server.faults.append(Fault.OVERLOADED)

    async def both() -> None:
        session = async_client_of(server, clock).session("call-42", at=0)
        await asyncio.gather(session.step([1, 1]), session.step([2, 2]))

    with pytest.raises(RuntimeError, match="the previous part has no reply yet"):
        asyncio.run(both())
