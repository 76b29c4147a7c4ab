"""The law of a stream: whatever breaks, each frame is applied once, and no bit differs from one shot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate import ConnectionFailed, SessionConflict, SessionGone
from cellgate.errors import SessionMismatch, WrongShape
from cellgate.predictions import Array
from cellgate.testing import Fault
from tests.cellgate.fakes import SleepyClock, async_client_of, client_of, fake_server, mix
from tests.cellgate.test_cursor import sequence

Encoding = Literal["json", "binary"]
Outputs = list[Array]
Run = Callable[[list[int], list[Fault | None], Encoding, int], tuple[Outputs, list[int]]]

pieces_of = st.lists(st.integers(1, 4), min_size=1, max_size=10)
faults_of = st.lists(st.sampled_from([None, None, *Fault]), max_size=20)


def frames_of(pieces: list[int]) -> list[Array]:
    stops = np.cumsum(pieces)
    return [sequence(pieces)[stop - count : stop] for stop, count in zip(stops, pieces, strict=True)]


def run_sync(
    pieces: list[int], faults: list[Fault | None], encoding: Encoding, in_flight: int
) -> tuple[Outputs, list[int]]:
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock, max_retry_s=1000)
    with client.stream("call-42", encoding=encoding, in_flight=in_flight) as stream:
        server.faults.extend(faults)
        outputs = [prediction.output for prediction in stream.run(frames_of(pieces))]
        assert (stream.at, stream.in_flight) == (sum(pieces), 0)
    return outputs, [at for at, _ in server.sessions["call-42"].applied]


def run_async(
    pieces: list[int], faults: list[Fault | None], encoding: Encoding, in_flight: int
) -> tuple[Outputs, list[int]]:
    server, clock = fake_server(), SleepyClock()

    async def live() -> AsyncIterator[Array]:
        for frame in frames_of(pieces):
            await asyncio.sleep(0)
            yield frame

    async def collect() -> Outputs:
        client = async_client_of(server, clock)
        async with client.stream("call-42", encoding=encoding, in_flight=in_flight) as stream:
            server.faults.extend(faults)
            return [prediction.output async for prediction in stream.run(live())]

    return asyncio.run(collect()), [at for at, _ in server.sessions["call-42"].applied]


@pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])
@given(
    pieces=pieces_of,
    faults=faults_of,
    encoding=st.sampled_from(["json", "binary"]),
    in_flight=st.sampled_from([1, 3, 16]),
)
def test_under_any_faults_each_frame_is_applied_once_and_no_bit_differs(
    run: Run, pieces: list[int], faults: list[Fault | None], encoding: Encoding, in_flight: int
) -> None:
    outputs, applied = run(pieces, faults, encoding, in_flight)
    stops = np.cumsum(pieces)
    assert applied == [0, *stops[:-1]]
    whole, _ = mix(sequence(pieces), None)
    assert [output.tobytes() for output in outputs] == [whole[stop - 1].tobytes() for stop in stops]


def test_a_stream_gives_up_after_its_time_and_keeps_its_frames() -> None:
    server, clock = fake_server(), SleepyClock()
    stream = client_of(server, clock, max_retry_s=10).stream("call-42")
    assert stream.step([1, 1]).step == 1
    server.faults.append(Fault.LOSE_REPLY)
    server.faults.extend([Fault.LOSE_REQUEST] * 30)
    stream.send([2, 2])
    with pytest.raises(ConnectionFailed):
        stream.receive()
    assert sum(clock.waits) < 10
    server.faults.clear()
    assert stream.receive().step == 2
    assert len(server.sessions["call-42"].applied) == 2


def test_a_socket_that_always_breaks_before_a_reply_is_not_tried_for_ever() -> None:
    """Connecting and opening succeed each time."""
    server, clock = fake_server(), SleepyClock()
    stream = client_of(server, clock, max_retry_s=10).stream("call-42")
    stream.step([1, 1])
    server.faults.extend([Fault.LOSE_REQUEST] + [None, None, Fault.LOSE_REQUEST] * 50)
    with pytest.raises(ConnectionFailed):
        stream.step([2, 2])
    assert len(server.faults) > 50


def test_a_bad_frame_drops_those_behind_it_and_the_stream_continues() -> None:
    server = fake_server()
    stream = client_of(server, SleepyClock()).stream("call-42", encoding="json", in_flight=4)
    stream.send([1, 1])
    stream.send([[1, 2, 3]])
    stream.send([2, 2])
    assert stream.receive().step == 1
    with pytest.raises(WrongShape):
        stream.receive()
    assert (stream.in_flight, stream.at) == (0, 1)
    assert stream.step([3, 3]).step == 2
    assert [at for at, _ in server.sessions["call-42"].applied] == [0, 1]


def test_another_client_in_the_session_is_a_conflict() -> None:
    server, clock = fake_server(), SleepyClock()
    client = client_of(server, clock)
    stream = client.stream("call-42")
    stream.step([1, 1])
    client.session("call-42").step([5, 5])
    with pytest.raises(SessionConflict) as conflict:
        stream.step([2, 2])
    assert conflict.value.step == 2
    assert stream.locate() == 2
    assert stream.step([2, 2]).step == 3


def test_a_session_that_stays_with_another_model_is_refused_after_one_more_opening() -> None:
    """It may only have moved to another version, which an opening follows: one is tried."""
    server, clock = fake_server(), SleepyClock()
    stream = client_of(server, clock).stream("call-42")
    stream.step([1, 1])
    server.sessions["call-42"].model = "other"
    with pytest.raises(SessionMismatch):
        stream.step([2, 2])
    assert (stream.in_flight, clock.waits) == (0, [])
    server.sessions["call-42"].model = "mix"
    assert stream.step([2, 2]).step == 2


def test_an_expired_session_is_not_begun_anew() -> None:
    server = fake_server()
    client = client_of(server, SleepyClock())
    client.stream("call-42").step([1, 1])
    server.sessions["call-42"].status = "expired"
    with pytest.raises(SessionGone) as gone, client.stream("call-42"):
        pass
    assert gone.value.reason == "expired"
    assert client.stream("call-42", at=0).step([1, 1]).step == 1


def test_after_its_last_frame_a_stream_takes_no_other() -> None:
    server = fake_server()
    stream = client_of(server, SleepyClock()).stream("call-42", in_flight=2)
    server.faults.extend([None, None, None, Fault.LOSE_REPLY])
    assert stream.step([1, 1], end=True).step == 1
    assert server.sessions["call-42"].status == "ended"
    with pytest.raises(RuntimeError, match="has ended"):
        stream.send([1, 1])


def test_more_frames_in_flight_than_agreed_are_refused() -> None:
    stream = client_of(fake_server(), SleepyClock()).stream("call-42")
    stream.send([1, 1])
    with pytest.raises(RuntimeError, match="1 frames have no reply yet"):
        stream.send([1, 1])
    stream.receive()
    with pytest.raises(RuntimeError, match="no frame is without a reply"):
        stream.receive()


@pytest.mark.parametrize("frame", [[1, 2, 3], np.ones((0, 2)), ["a", "b"], np.array([1j, 1])])
def test_a_frame_that_is_no_numbers_is_not_sent(frame: object) -> None:
    stream = client_of(fake_server(), SleepyClock()).stream("call-42", encoding="binary")
    with pytest.raises((ValueError, TypeError)):
        stream.send(frame)  # type: ignore[arg-type]
    assert stream.in_flight == 0
