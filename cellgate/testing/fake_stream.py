"""`GET /stream` of the fake server: one channel, in JSON or binary."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cellgate.errors import ConnectionFailed, DeadlineExceeded, Overloaded, ReplyTimeout, ResponseError
from cellgate.stream.frames import END, HEAD, Message
from cellgate.testing.fake_model import FakeModel
from cellgate.testing.fake_replies import document, keeps_all_steps, prediction, read_steps
from cellgate.testing.fake_sessions import FakeSession, FakeSessions
from cellgate.testing.faults import Fault

MAX_IN_FLIGHT = 16
BREAKING = (Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.TRUNCATE_REPLY, Fault.REPLICA_LOST)


class FakeChannel:
    """A socket seen from the server: each message of the client uses up one fault."""

    def __init__(
        self,
        models: Mapping[str, FakeModel],
        sessions: FakeSessions,
        choose_model: Callable[[str | None], str],
        faults: deque[Fault | None],
    ) -> None:
        self.inbox: deque[Message] = deque()
        self._models = models
        self._sessions = sessions
        self._choose_model = choose_model
        self._faults = faults
        self._opening: dict[str, Any] | None = None
        self._is_broken = False

    def take(self, message: Message) -> None:
        """A message of the client. Raises ConnectionFailed once the socket is broken."""
        if self._is_broken:
            raise ConnectionFailed("the socket is broken")
        fault = self._faults.popleft() if self._faults else None
        if fault is not Fault.LOSE_REQUEST:
            self.inbox.append(self._answer(message, fault))
        if fault in BREAKING:
            self.inbox.clear()
            self._is_broken = True

    def next(self) -> Message:
        """A message for the client. Raises ConnectionFailed, or ReplyTimeout if none will come."""
        if self.inbox:
            return self.inbox.popleft()
        raise ConnectionFailed("the socket is broken") if self._is_broken else ReplyTimeout("no reply is due")

    def _answer(self, message: Message, fault: Fault | None) -> Message:
        try:
            if fault is Fault.OVERLOADED:
                raise Overloaded("fault: overloaded", status=503, members={"retry_after_s": 1})
            if fault is Fault.DEADLINE:
                raise DeadlineExceeded("fault: deadline", status=504)
            if self._opening is None:
                return self._open(json.loads(message))
            return self._frame(self._opening, message)
        except ResponseError as error:
            return json.dumps({"channel": 0, "error": document(error)})

    def _open(self, opening: dict[str, Any]) -> str:
        name = self._choose_model(opening.get("model"))
        keeps_all_steps(opening.get("return"))
        step = self._sessions.resume(opening["session"], opening.get("at"))
        limit = min(opening.get("max_frames_in_flight", MAX_IN_FLIGHT), MAX_IN_FLIGHT)
        defaults = {
            "encoding": "json",
            "return": "last",
            "model": name,
            "limits": {"max_frames_in_flight": limit},
        }
        self._opening = (
            defaults | opening | {"model": name, "version": self._models[name].version, "step": step}
        )
        return json.dumps(self._opening)

    def _frame(self, opening: dict[str, Any], message: Message) -> Message:
        model = self._models[opening["model"]]
        if isinstance(message, bytes):
            _, flags, steps, at = HEAD.unpack_from(message)
            x = np.frombuffer(message, model.dtype, offset=HEAD.size).reshape(steps, *model.dims)
            end = bool(flags & END)
        else:
            frame = json.loads(message)
            x, at, end = read_steps(frame["steps"], model), frame.get("at"), frame.get("end", False)
        keeps_all = keeps_all_steps(opening["return"])

        def compute(session: FakeSession) -> dict[str, Any]:
            y, state = model.function(x, session.state)
            session.state, session.step = state, session.step + len(x)
            place = {"session": opening["session"], "step": session.step}
            return prediction(model, y, keeps_all) | place

        reply = self._sessions.apply(
            opening["session"],
            opening["model"],
            at,
            (x.tobytes(), keeps_all, end),
            end,
            compute,
            num_replies=opening["limits"]["max_frames_in_flight"],
        )
        if isinstance(message, str):
            return json.dumps({"channel": 0} | reply)
        y = np.asarray(reply["output"], model.output_dtype)
        rows = len(y) if keeps_all else 1
        return HEAD.pack(0, end, rows, reply["step"]) + y.tobytes()


class FakeSocket:
    """The client's end."""

    def __init__(self, channel: FakeChannel) -> None:
        self._channel = channel

    def send(self, message: Message) -> None:
        """Send a message. Raises ConnectionFailed by a fault."""
        self._channel.take(message)

    def receive(self, timeout_s: float | None) -> Message:  # noqa: ARG002
        """The next message. Raises ConnectionFailed by a fault, or ReplyTimeout if none is due."""
        return self._channel.next()

    def close(self) -> None:
        """Nothing is to be closed."""


class AsyncFakeSocket:
    """The same, of asyncio."""

    def __init__(self, channel: FakeChannel) -> None:
        self._channel = channel

    async def send(self, message: Message) -> None:
        """Send a message. Raises ConnectionFailed by a fault."""
        self._channel.take(message)

    async def receive(self, timeout_s: float) -> Message:  # noqa: ARG002
        """The next message. Raises ConnectionFailed by a fault, or ReplyTimeout if none is due."""
        return self._channel.next()

    async def close(self) -> None:
        """Nothing is to be closed."""
