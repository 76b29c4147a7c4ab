"""Where a client is in a session. `at` goes with every part, so a part that is sent again is applied once.

         ask ─→ at = 120 ── step(x), at 120 ─→ reply, step 121 ─→ at = 121
                                 └─ no reply: at stays 120; the same part may be sent again

It knows no socket: its methods are flows.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from cellgate import resources
from cellgate.catalog import Catalog
from cellgate.errors import BadReply, SessionGone, UnknownSession
from cellgate.flow import Flow, Send
from cellgate.forecast import Forecast, Horizon, forecast
from cellgate.generate import Prompt, Sampling, generate, request_of
from cellgate.inputs import GivenState, Steps, encode
from cellgate.models import Model
from cellgate.predict import JSON_HEADERS, Options, post
from cellgate.predictions import Generation, Prediction, from_json
from cellgate.retry import Retry
from cellgate.tokens import TokenCursor


class Cursor:
    """A session's name, its model, and the step that this client believes it to be at."""

    def __init__(
        self,
        name: str,
        catalog: Catalog,
        retry: Retry,
        *,
        model: str | None = None,
        version: str | None = None,
        at: int | None = None,
        state: GivenState | None = None,
    ) -> None:
        """`at`: None: ask the server before the first part. `state`: what a new session begins from."""
        self.name = name
        self.model = model
        self.version = version
        self.at = at
        self.state = state
        self.rewinds: int | None = None  # how often it was rewound, of a session that keeps earlier states
        self._catalog = catalog
        self._retry = retry
        self._answering: Model | None = None  # the version that the session is on, once known
        self._is_busy = False

    @property
    def is_lost(self) -> bool:
        """Whether the server has to be asked before the first part."""
        return self.at is None and self.state is None

    def locate(self) -> Flow[int]:
        """Ask the server where the session is: its step, or 0 where the name is free.

        Raises SessionGone if it has expired or was evicted: then its memory is lost. `at = 0` starts anew.
        """
        try:
            stored = yield from resources.read(self.name, self._retry)
        except UnknownSession:
            self.at, self.rewinds = 0, None
        except SessionGone as error:
            if error.reason != "ended":
                raise
            self.at, self.rewinds = 0, None
        else:
            yield from self._found(stored)
        self.state = None
        assert self.at is not None
        return self.at

    def step(self, steps: Steps, options: Options, *, end: bool = False) -> Flow[Prediction]:
        """Send the next part: one step or several. Model and version are those of the session.

        Raises SessionConflict if another client has moved the session, SessionGone if it is no more.
        """
        with self._alone():
            place = yield from self._place(end)
            model = self._answering or (yield from self._catalog.find(self.model, self.version))
            encoded = encode(steps, model, may_be_one=True)
            part = {"steps": encoded} | place
            body = replace(options, model=self.model, version=self.version).body([part])
            send = Send("POST", "/predict", body, JSON_HEADERS)
            reply, self._answering = yield from post(send, self._catalog, self._retry)
            prediction = from_json(_only(reply), self._answering)
            self._move_to(prediction.step)
            return prediction

    def generate(self, prompt: Prompt, sampling: Sampling, *, end: bool = False) -> Flow[Generation]:
        """Send a prompt, and continue it. The prompt and the generated tokens are steps of the session."""
        with self._alone():
            place = yield from self._place(end)
            generation = yield from generate(prompt, sampling, self._retry, self.model, self.version, place)
            self._move_to(generation.step)
            return generation

    def tokens(self, prompt: Prompt, sampling: Sampling, *, end: bool = False) -> TokenCursor:
        """The same, token by token. The session moves when the last one has come, and is busy until then."""
        return TokenCursor(self._begin_tokens(prompt, sampling, end), self._retry, self._end_tokens)

    def _begin_tokens(self, prompt: Prompt, sampling: Sampling, end: bool) -> Flow[Send]:
        with self._alone():
            place = yield from self._place(end)
        self._is_busy = True
        return request_of(prompt, sampling, self.model, self.version, place)

    def _end_tokens(self, generation: Generation | None) -> None:
        self._is_busy = False
        if generation is not None:
            self._move_to(generation.step)

    def rewind(self, step: int) -> Flow[resources.StoredSession]:
        """Return to a step that the session keeps: once, however often the request is sent.

        Raises UnknownCheckpoint, or SessionConflict if another client has moved or rewound the session.
        """
        with self._alone():
            if self.at is None or self.rewinds is None:
                yield from self.locate()
            at, rewinds = self.at or 0, self.rewinds or 0
            stored = yield from resources.rewind(self.name, step, self._retry, at=at, rewinds=rewinds)
            yield from self._found(stored)
            return stored

    def set_state(self, state: Mapping[str, Any], step: int | None) -> Flow[resources.StoredSession]:
        """Replace the state, and perhaps the step; once, however often the request is sent.

        Raises SessionConflict if another client has changed the session, or UnknownSession.
        """
        with self._alone():
            now = yield from resources.read(self.name, self._retry)
            at = now.step if self.at is None else self.at
            creation = resources.Creation(
                now.model,
                now.version,
                state,
                at if step is None else step,
                at=at,
                rewinds=now.rewinds if self.rewinds is None else self.rewinds,
            )
            stored = yield from resources.create(self.name, creation, self._retry)
            yield from self._found(stored)
            return stored

    def forecast(self, horizon: Horizon) -> Flow[Forecast]:
        """Run ahead of the session, which does not move."""
        if self._answering is None:
            yield from self.locate()
        model = self._answering or (yield from self._catalog.find(self.model, self.version))
        return (yield from forecast(self.name, horizon, model, self._catalog, self._retry))

    def set_history(self, history: resources.History) -> Flow[resources.StoredSession]:
        """Change which earlier states it keeps; from now on, every part names the number of rewinds."""
        stored = yield from resources.change(self.name, self._retry, history=history)
        self.rewinds = stored.rewinds
        return stored

    def migrate(self, version: str | None) -> Flow[resources.StoredSession]:
        """Continue with another version of the model; None: the default one."""
        stored = yield from resources.migrate(self.name, self._retry, version=version)
        self._answering = yield from self._catalog.find(stored.model, stored.version)
        self.version = None if self.version is None else stored.version
        return stored

    def delete(self, at: int | None = None) -> Flow[None]:
        """Delete the session on the server. A name without a session is no error: a reply may be lost."""
        with suppress(UnknownSession, SessionGone):
            yield from resources.delete(self.name, self._retry, at=at)
        self.at, self.rewinds, self.state, self._answering = 0, None, None, None

    def _place(self, end: bool) -> Flow[dict[str, Any]]:
        """The fields of a part that say where it belongs. A session's first one may have a state instead."""
        place: dict[str, Any] = {"session": self.name, "end": end}
        if self.state is not None:
            return place | {"state": self.state}
        at = self.at if self.at is not None else (yield from self.locate())
        return place | {"at": at} | ({} if self.rewinds is None else {"rewinds": self.rewinds})

    def _found(self, stored: resources.StoredSession) -> Flow[None]:
        """Continue where the server says the session is."""
        self.at, self.model = stored.step, self.model or stored.model
        self.rewinds = stored.rewinds if stored.rewinds or stored.history else None
        self._answering = yield from self._catalog.find(stored.model, stored.version)

    def _move_to(self, step: int | None) -> None:
        if step is None:
            raise BadReply(f"the reply to a part of session {self.name!r} has no step")
        self.at, self.state = step, None

    @contextmanager
    def _alone(self) -> Generator[None, Any, None]:
        """Refuse a second part while one is in flight: they would carry the same `at`."""
        if self._is_busy:
            raise RuntimeError(f"session {self.name!r}: the previous part has no reply yet")
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False


def _only(reply: dict[str, Any]) -> dict[str, Any]:
    entries = reply.get("predictions")
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise BadReply(f"expected one prediction, got {str(entries)[:200]}")
    entry: dict[str, Any] = entries[0]
    return entry
