"""States that travel with the client: tokens, sessions that begin from them, checkpoints and rewinds."""

import httpx
import numpy as np
import pytest

from cellgate import Client, History, SessionConflict, SessionExists
from cellgate.errors import ForecastNotSupported, InvalidState, UnknownCheckpoint
from tests.e2e.server import Server

Steps = list[list[float]]


def test_a_sequence_goes_from_reply_to_reply_without_a_session(client: Client, utterance: Steps) -> None:
    whole = client.predict_one(utterance, model="vowels")
    state = None
    for start in range(0, 20, 6):
        part = utterance[start : start + 6]
        prediction = client.predict_one(part, model="vowels", state=state, return_state=True)
        state = prediction.state
    assert prediction.output.tobytes() == whole.output.tobytes()
    assert prediction.step == 20
    assert whole.state is None


def test_many_sequences_begin_from_states_of_their_own(client: Client, utterance: Steps) -> None:
    begun = client.predict([utterance[:5], utterance[:9]], model="vowels", return_state=True)
    rest = [utterance[5:], utterance[9:], utterance]
    ended = client.predict(rest, model="vowels", states=[begun[0].state, begun[1].state, None])
    assert len({prediction.output.tobytes() for prediction in ended}) == 1
    with pytest.raises(ValueError, match="3 sequences, but 1 states"):
        client.predict(rest, model="vowels", states=[None])
    with pytest.raises(InvalidState):
        client.predict_one(utterance, model="vowels", state="no token")


def test_a_session_begins_from_a_token(client: Client, utterance: Steps, name: str) -> None:
    token = client.predict_one(utterance[:8], model="vowels", return_state=True).state
    with client.session(name, model="vowels", state=token) as session:
        assert session.at is None
        assert session.step(utterance[8:12]).step == 12
        last = session.step(utterance[12:], return_state=True)
    assert last.output.tobytes() == client.predict_one(utterance, model="vowels").output.tobytes()
    assert last.state is not None and last.state not in repr(last)
    with pytest.raises(SessionExists) as exists:
        client.session(name, model="vowels", state=token).step(utterance[9])
    assert exists.value.step == 20


def test_a_rewound_session_repeats_its_bits(client: Client, utterance: Steps, name: str) -> None:
    session = client.create_session(name, model="vowels", history=History(last=5))
    ends = [session.step(row).output.tobytes() for row in utterance[:8]]
    stored = session.stored()
    assert stored.history is not None and stored.history.checkpoints == (3, 4, 5, 6, 7)
    fork = session.fork(f"{name}-f"[-128:], at=4)
    assert session.rewind(5).step == session.at == 5
    assert [session.step(row).output.tobytes() for row in utterance[5:8]] == ends[5:]
    assert [fork.step(row).output.tobytes() for row in utterance[4:8]] == ends[4:]
    with pytest.raises(UnknownCheckpoint) as unknown:
        session.rewind(1)
    assert unknown.value.kept[-1] == 8


def test_a_client_from_before_a_rewind_is_refused(client: Client, utterance: Steps, name: str) -> None:
    """Its next part would name the right step of another past."""
    session = client.create_session(name, model="vowels", history=History(last=5))
    for row in utterance[:6]:
        session.step(row)
    with client.session(name, model="vowels") as late:
        session.rewind(4)
        session.step(utterance[4:6])
        with pytest.raises(SessionConflict) as conflict:
            late.step(utterance[6])
    assert conflict.value.rewinds == 1
    assert late.locate() == 6
    late.step(utterance[6])


def test_a_rewind_whose_reply_is_lost_is_applied_once(server: Server, utterance: Steps, name: str) -> None:
    class Losing(httpx.HTTPTransport):
        losses = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.url.path.endswith("/rewind") and not self.losses:
                self.losses += 1
                response.close()
                raise httpx.ReadError("the reply is lost", request=request)
            return response

    with Client(server.url, transport=Losing(), sleep=lambda _: None) as client:
        session = client.create_session(name, model="vowels", history=History(last=3, every=2))
        session.step(np.asarray(utterance[:7]))
        assert session.rewind(4).rewinds == 1
        assert session.step(utterance[4]).step == 5


def test_a_forecast_runs_ahead_and_moves_nothing(client: Client, utterance: Steps, name: str) -> None:
    every = client.predict_one(utterance, model="vowels", returns="all").output
    session = client.create_session(name, model="vowels", history=History(last=5))
    session.step(utterance[:10])
    session.step(utterance[10:12])
    ahead = session.forecast(8, np.asarray(utterance[12:]))
    assert (ahead.step, ahead.session, ahead.model) == (12, name, "vowels")
    assert ahead.output[0].tobytes() == every[12:].tobytes()
    assert session.forecast(2, utterance[10:12], at=10).output[0].tobytes() == every[10:12].tobytes()
    assert session.stored().step == session.at == 12
    with pytest.raises(ForecastNotSupported):
        session.forecast(3)
