"""A session of the synchronous client."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from cellgate import resources
from cellgate.core import Core
from cellgate.cursor import Cursor
from cellgate.flow import Flow, Outcome, Send
from cellgate.forecast import Forecast, Horizon
from cellgate.generate import Prompt, Sampling
from cellgate.inputs import Steps
from cellgate.models import Returns
from cellgate.predict import Options
from cellgate.predictions import Generation, Prediction
from cellgate.resources import History, StoredSession
from cellgate.token_iterators import Tokens

T = TypeVar("T")


class Runner(Protocol):
    """What a session needs of its client."""

    core: Core
    sleep: Callable[[float], None]

    def run(self, flow: Flow[T]) -> T:
        """Run a call."""

    def attempt(self, send: Send, *, streams: bool = False) -> Outcome:
        """Send one request; `streams`: leave the body unread."""

    def hold(self) -> None:
        """Begin to use the client's connections."""

    def release(self) -> None:
        """End it."""


class Session:
    """A named sequence whose state the server keeps. Made by `Client.session`.

    Each part carries the step that it continues from, so it is applied once however often it is sent. If a
    call raises, `at` is unchanged: the same part may be sent again, also by another process.
    Leaving a `with` block does not end the session; `delete()` does, and so does `end=True`.
    For one thread at a time.
    """

    def __init__(self, client: Runner, cursor: Cursor) -> None:
        self._client = client
        self._cursor = cursor

    @property
    def name(self) -> str:
        """Its name, unique for the tenant of the API key."""
        return self._cursor.name

    @property
    def at(self) -> int | None:
        """Steps consumed, as far as this client knows; None: not yet asked."""
        return self._cursor.at

    def __enter__(self) -> Self:
        """Ask the server where the session is, unless `at` says it. Raises SessionGone."""
        self._client.hold()
        try:
            if self._cursor.is_lost:
                self.locate()
        except BaseException:
            self._client.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections if no other block uses the client. The session stays."""
        self._client.release()

    def __repr__(self) -> str:
        """Name and step."""
        return f"Session({self.name!r}, at={self.at})"

    def locate(self) -> int:
        """Ask the server where the session is, and continue there; 0 if the name is free.

        Raises SessionGone if it expired or was evicted.
        """
        return self._client.run(self._cursor.locate())

    def step(
        self,
        steps: Steps,
        *,
        end: bool = False,
        returns: Returns | None = None,
        outputs: Sequence[str] = (),
        trim_padding: bool = False,
        return_state: bool = False,
    ) -> Prediction:
        """Send the next part, one step or several; the answer at its last step.

        `end`: the session ends with this part. `returns="all"`: the answer at every step.
        `return_state`: with a token of the state after it.
        Raises SessionConflict if another client has moved the session, SessionGone if it is no more.
        """
        options = Options(None, None, returns, tuple(outputs), trim_padding, return_state)
        return self._client.run(self._cursor.step(steps, options, end=end))

    def generate(
        self,
        prompt: Prompt,
        *,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[int | str] | None = None,
        end: bool = False,
    ) -> Generation:
        """Continue a prompt, in the session: prompt and generated tokens are steps of it."""
        sampling = Sampling(max_steps, temperature, top_k, seed, stop)
        return self._client.run(self._cursor.generate(prompt, sampling, end=end))

    def generate_tokens(
        self,
        prompt: Prompt,
        *,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[int | str] | None = None,
        end: bool = False,
    ) -> Tokens:
        """The same, token by token. The session moves when the last one has come."""
        sampling = Sampling(max_steps, temperature, top_k, seed, stop)
        return Tokens(self._client, self._cursor.tokens(prompt, sampling, end=end))

    def stored(self, *, state: bool = False) -> StoredSession:
        """What the server's store says of it; `state`: with the recurrent tensors."""
        return self._client.run(resources.read(self.name, self._client.core.retry, state=state))

    def fork(
        self,
        to: str,
        *,
        at: int | None = None,
        ttl_s: float | None = None,
        history: History | None = None,
    ) -> "Session":
        """A second session that continues from this one's state, or from that `at` an earlier step it keeps.

        Raises SessionExists or UnknownCheckpoint.
        """
        core = self._client.core
        flow = resources.fork(self.name, to, core.retry, at=at, ttl_s=ttl_s, history=history)
        return Session(self._client, core.cursor_of(self._client.run(flow)))

    def rewind(self, step: int) -> StoredSession:
        """Return to an earlier step that the session keeps; applied once.

        Raises UnknownCheckpoint, or SessionConflict if another client has moved or rewound the session.
        """
        return self._client.run(self._cursor.rewind(step))

    def set_state(self, state: Mapping[str, Any], step: int | None = None) -> StoredSession:
        """Replace the recurrent tensors, and perhaps the step; time to live and checkpoints before it stay.

        Raises SessionConflict if another client has moved, rewound or replaced the session.
        """
        return self._client.run(self._cursor.set_state(state, step))

    def forecast(
        self,
        horizon: int,
        inputs: Steps = None,
        *,
        samples: int | None = None,
        seed: int | None = None,
        at: int | None = None,
    ) -> Forecast:
        """Run the model ahead of the session, which does not move. `horizon`: steps ahead.

        `inputs`: the rows ahead, with NaN or None where the model forecasts the value. `samples`: paths that
        are drawn at random. `at`: begin at an earlier step that the session keeps.
        """
        flow = self._cursor.forecast(Horizon(horizon, inputs, samples, seed, at))
        return self._client.run(flow)

    def set_history(self, history: History) -> StoredSession:
        """Change which earlier states the session keeps."""
        return self._client.run(self._cursor.set_history(history))

    def migrate(self, version: str | None = None) -> StoredSession:
        """Continue with another version of the model; None: the default one. Raises SessionMismatch."""
        return self._client.run(self._cursor.migrate(version))

    def set_ttl(self, ttl_s: float) -> StoredSession:
        """Change the idle time after which it expires (s)."""
        return self._client.run(resources.change(self.name, self._client.core.retry, ttl_s=ttl_s))

    def export(self, path: str | Path | None = None) -> bytes:
        """The session as a file with a checksum; written to `path`, if there is one."""
        exported = self._client.run(resources.export(self.name, self._client.core.retry))
        if path is not None:
            Path(path).write_bytes(exported)
        return exported

    def delete(self, *, at: int | None = None) -> None:
        """End the session: delete its state. The name is free again, and no session of it is no error.

        `at`: only if it is at this step; else it raises SessionConflict.
        """
        self._client.run(self._cursor.delete(at))
