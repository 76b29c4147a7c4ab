"""Where a client is in a session. `at` goes with every part, so a part that is sent again is applied once.

         ask ─→ at = 120 ── step(x), at 120 ─→ reply, step 121 ─→ at = 121
                                 └─ no reply: at stays 120; the same part may be sent again

It knows no socket: its methods are flows.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from cellgate import resources
from cellgate.catalog import Catalog
from cellgate.errors import BadReply, SessionGone, UnknownSession
from cellgate.flow import Flow, Send
from cellgate.generate import Prompt, Sampling, generate
from cellgate.inputs import Steps, encode
from cellgate.models import Model
from cellgate.predict import JSON_HEADERS, Options, post
from cellgate.predictions import Generation, Prediction, from_json
from cellgate.retry import Retry


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
    ) -> None:
        """`at`: None: ask the server before the first part."""
        self.name = name
        self.model = model
        self.version = version
        self.at = at
        self._catalog = catalog
        self._retry = retry
        self._answering: Model | None = None  # the version that the session is on, once known
        self._is_busy = False

    def locate(self) -> Flow[int]:
        """Ask the server where the session is: its step, or 0 where the name is free.

        Raises SessionGone if it has expired or was evicted: then its memory is lost. `at = 0` starts anew.
        """
        try:
            stored = yield from resources.read(self.name, self._retry)
        except UnknownSession:
            self.at = 0
        except SessionGone as error:
            if error.reason != "ended":
                raise
            self.at = 0
        else:
            self.at, self.model = stored.step, self.model or stored.model
            self._answering = yield from self._catalog.find(stored.model, stored.version)
        return self.at

    def step(self, steps: Steps, options: Options, *, end: bool = False) -> Flow[Prediction]:
        """Send the next part: one step or several. Model and version are those of the session.

        Raises SessionConflict if another client has moved the session, SessionGone if it is no more.
        """
        with self._alone():
            at = self.at if self.at is not None else (yield from self.locate())
            model = self._answering or (yield from self._catalog.find(self.model, self.version))
            encoded = encode(steps, model, may_be_one=True)
            part = {"steps": encoded, "session": self.name, "at": at, "end": end}
            body = replace(options, model=self.model, version=self.version).body([part])
            send = Send("POST", "/predict", body, JSON_HEADERS)
            reply, self._answering = yield from post(send, self._catalog, self._retry)
            prediction = from_json(_only(reply), self._answering)
            self._move_to(prediction.step)
            return prediction

    def generate(self, prompt: Prompt, sampling: Sampling, *, end: bool = False) -> Flow[Generation]:
        """Send a prompt, and continue it. The prompt and the generated tokens are steps of the session."""
        with self._alone():
            at = self.at if self.at is not None else (yield from self.locate())
            where = {"session": self.name, "at": at, "end": end}
            generation = yield from generate(prompt, sampling, self._retry, self.model, self.version, where)
            self._move_to(generation.step)
            return generation

    def migrate(self, version: str | None) -> Flow[resources.StoredSession]:
        """Continue with another version of the model; None: the default one."""
        stored = yield from resources.migrate(self.name, self._retry, version=version)
        self._answering = yield from self._catalog.find(stored.model, stored.version)
        self.version = None if self.version is None else stored.version
        return stored

    def delete(self) -> Flow[None]:
        """Delete the session on the server. A name without a session is no error: a reply may be lost."""
        with suppress(UnknownSession, SessionGone):
            yield from resources.delete(self.name, self._retry)
        self.at = 0
        self._answering = None

    def _move_to(self, step: int | None) -> None:
        if step is None:
            raise BadReply(f"the reply to a part of session {self.name!r} has no step")
        self.at = step

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
