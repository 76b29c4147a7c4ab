"""A transport of httpx that answers as a Cellgate server does."""

import json
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import httpx

from cellgate.errors import ConnectionFailed, InvalidField, NotFound, ResponseError, UnknownModel
from cellgate.testing import fake_resources
from cellgate.testing.fake_model import FakeModel
from cellgate.testing.fake_replies import (
    document,
    keeps_all_steps,
    prediction,
    problem,
    read_steps,
    refusal,
)
from cellgate.testing.fake_sessions import FakeSession, FakeSessions
from cellgate.testing.fake_stream import AsyncFakeSocket, FakeChannel, FakeSocket
from cellgate.testing.faults import Fault

SESSION_PATH = re.compile(r"/sessions/(.+?)(?:/(fork|export|import|migrate))?")


class FakeServer(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """`transport=FakeServer({"sums": FakeModel(add, dims=(2,))})` of a `Client` or an `AsyncClient`.

    `faults`: one entry is used up by each request; None lets it pass. `requests`: all that arrived.
    `sessions`: by name; set `server.sessions["call-42"].status = "expired"` to let one expire.
    """

    def __init__(self, models: Mapping[str, FakeModel]) -> None:
        self.models = dict(models)
        self.faults: deque[Fault | None] = deque()
        self.requests: list[httpx.Request] = []
        self._sessions = FakeSessions()

    @property
    def sessions(self) -> dict[str, FakeSession]:
        """All sessions by name, also those that have ended."""
        return self._sessions.by_name

    def connect(self, url: str) -> FakeSocket:
        """Open a socket of the synchronous client. Raises ConnectionFailed by a fault."""
        return FakeSocket(self._channel(url))

    async def connect_async(self, url: str) -> AsyncFakeSocket:
        """Open a socket of the asynchronous client. Raises ConnectionFailed by a fault."""
        return AsyncFakeSocket(self._channel(url))

    def _channel(self, url: str) -> FakeChannel:
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault is not Fault.DUPLICATE:
            raise ConnectionFailed(f"fault: {url} refuses the connection")
        return FakeChannel(self.models, self._sessions, self._name, self.faults)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of the synchronous client. Raises httpx.TransportError by a fault."""
        request.read()
        return self._handle(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of the asynchronous client. Raises httpx.TransportError by a fault."""
        await request.aread()
        return self._handle(request)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.LOSE_REQUEST:
            raise httpx.ConnectError("fault: the request is lost", request=request)
        if fault is Fault.OVERLOADED:
            return refusal(503, "overloaded", retry_after_s=1)
        if fault is Fault.DEADLINE:
            return refusal(504, "deadline_exceeded")
        if fault is Fault.DUPLICATE:
            self._answer(request)
        response = self._answer(request)
        if fault is Fault.LOSE_REPLY:
            raise httpx.ReadError("fault: the reply is lost", request=request)
        if fault is Fault.TRUNCATE_REPLY:
            raise httpx.RemoteProtocolError("fault: the reply is cut off", request=request)
        return refusal(502, "replica_lost", retry_after_s=1) if fault is Fault.REPLICA_LOST else response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        try:
            return self._route(request)
        except ResponseError as error:
            return problem(error)

    def _route(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        if path.startswith("/health/"):
            return httpx.Response(200, json={"status": "ok"})
        if method == "GET" and (match := re.fullmatch(r"/models(?:/([^/]+))?", path)):
            return httpx.Response(200, json={"models": self._describe(match[1])})
        if method == "POST" and path == "/predict":
            return httpx.Response(200, json=self._predict(json.loads(request.content)))
        if method == "GET" and path == "/sessions":
            return fake_resources.page(request.url.params, self._sessions)
        if match := SESSION_PATH.fullmatch(path):
            return fake_resources.answer(request, match[1], match[2], self._sessions, self._name)
        raise NotFound(f"the fake server does not answer {method} {path}", status=404)

    def _describe(self, name: str | None) -> list[dict[str, Any]]:
        models = self.models if name is None else {self._name(name): self.models[self._name(name)]}
        return [model.entry(key) for key, model in models.items()]

    def _name(self, name: str | None) -> str:
        if name is None and len(self.models) == 1:
            return next(iter(self.models))
        if name is None:
            raise InvalidField(
                f'several models are loaded; set "model" to one of {sorted(self.models)}', status=422
            )
        if name not in self.models:
            raise UnknownModel(f"no model {name!r}; loaded: {sorted(self.models)}", status=404)
        return name

    def _predict(self, body: dict[str, Any]) -> dict[str, Any]:
        name = self._name(body.get("model"))
        sequences, keeps_all = body["sequences"], keeps_all_steps(body.get("return"))
        entries = []
        for index, item in enumerate(sequences):
            try:
                entries.append(
                    self._entry(name, item if isinstance(item, dict) else {"steps": item}, keeps_all)
                )
            except ResponseError as error:
                error.members.setdefault("pointer", f"/sequences/{index}")
                if len(sequences) == 1:
                    raise
                entries.append({"error": document(error)})
        return {"model": name, "version": self.models[name].version, "predictions": entries}

    def _entry(self, name: str, item: dict[str, Any], keeps_all: bool) -> dict[str, Any]:
        model, session = self.models[name], item.get("session")
        x = read_steps(item.get("steps", item.get("text")), model)
        if session is None:
            return prediction(model, model.function(x, None)[0], keeps_all)

        def compute(of: FakeSession) -> dict[str, Any]:
            y, state = model.function(x, of.state)
            of.state, of.step = state, of.step + len(x)
            return prediction(model, y, keeps_all) | {"session": session, "step": of.step}

        content = (x.tobytes(), keeps_all, item.get("end", False))
        return self._sessions.apply(session, name, item.get("at"), content, item.get("end", False), compute)
