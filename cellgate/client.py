"""The synchronous client."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import httpx

from cellgate import resources
from cellgate.catalog import list_models
from cellgate.connections import Connections
from cellgate.core import Core, Timing, check_health, predictions_of
from cellgate.generate import Prompt, Sampling, begin, generate, request_of
from cellgate.inputs import GivenState, Steps
from cellgate.models import Model, Returns
from cellgate.predict import Options, Result, predict
from cellgate.predictions import Generation, Prediction
from cellgate.resources import History, StoredSession
from cellgate.session import Session
from cellgate.settings import Settings
from cellgate.stream import Stream, StreamCursor, StreamOptions
from cellgate.token_iterators import Tokens
from cellgate.tokens import TokenCursor


class Client(Connections):
    """A client of one server, for any number of threads.

        with Client("http://127.0.0.1:8000") as client:
            print(client.predict_one(x, model="vowels").label)

    It opens connections when they are needed; `close()`, or the end of its `with` block, closes them.
    Every call sends its request again after a lost connection, and after a 429, 502, 503 or 504, for at most
    `max_retry_s`. Raises a CellgateError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = Settings.timeout_s,
        max_retry_s: float = Settings.max_retry_s,
        transport: httpx.BaseTransport | None = None,
        settings: Settings | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timing: Timing | None = None,
    ) -> None:
        """`url`, `api_key`: default: `CELLGATE_URL`, `CELLGATE_API_KEY`, and a server on this machine.

        `settings`: all options at once, in place of the four before. `transport`: of httpx, or a fake server.
        `sleep`, `timing`: for tests.
        """
        core = Core.of(
            settings, timing, url=url, api_key=api_key, timeout_s=timeout_s, max_retry_s=max_retry_s
        )
        super().__init__(core, transport=transport, sleep=sleep)

    def predict_one(
        self,
        steps: Steps,
        *,
        model: str | None = None,
        version: str | None = None,
        returns: Returns | None = None,
        outputs: Sequence[str] = (),
        trim_padding: bool = False,
        state: GivenState | None = None,
        return_state: bool = False,
    ) -> Prediction:
        """The answer to one whole sequence, [time, *dims].

        `state`: what it begins from. `return_state`: with a token of the state after it.
        """
        options = Options(model, version, returns, tuple(outputs), trim_padding, return_state)
        results = self.run(predict([steps], options, self.core.catalog, self.core.retry, [state]))
        return predictions_of(results)[0]

    @overload
    def predict(
        self,
        sequences: Iterable[Steps],
        *,
        model: str | None = ...,
        version: str | None = ...,
        returns: Returns | None = ...,
        outputs: Sequence[str] = ...,
        trim_padding: bool = ...,
        states: Iterable[GivenState | None] | None = ...,
        return_state: bool = ...,
        return_exceptions: Literal[False] = ...,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        sequences: Iterable[Steps],
        *,
        model: str | None = ...,
        version: str | None = ...,
        returns: Returns | None = ...,
        outputs: Sequence[str] = ...,
        trim_padding: bool = ...,
        states: Iterable[GivenState | None] | None = ...,
        return_state: bool = ...,
        return_exceptions: Literal[True],
    ) -> list[Result]: ...

    def predict(
        self,
        sequences: Iterable[Steps],
        *,
        model: str | None = None,
        version: str | None = None,
        returns: Returns | None = None,
        outputs: Sequence[str] = (),
        trim_padding: bool = False,
        states: Iterable[GivenState | None] | None = None,
        return_state: bool = False,
        return_exceptions: bool = False,
    ) -> list[Prediction] | list[Result]:
        """The answers to many whole sequences, each [time, *dims], of any lengths, in order.

        `states`: what each sequence begins from. `return_state`: with tokens of the states after them.
        `return_exceptions`: an invalid sequence gives its error in place of a prediction; else it is raised.
        """
        options = Options(model, version, returns, tuple(outputs), trim_padding, return_state)
        results = self.run(predict(sequences, options, self.core.catalog, self.core.retry, states))
        return results if return_exceptions else predictions_of(results)

    def generate(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        version: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[int | str] | None = None,
    ) -> Generation:
        """Continue a prompt: a text, or tokens by id or name."""
        sampling = Sampling(max_steps, temperature, top_k, seed, stop)
        return self.run(generate(prompt, sampling, self.core.retry, model, version))

    def generate_tokens(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        version: str | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[int | str] | None = None,
    ) -> Tokens:
        """The same, token by token: an iterator, whose `result` is the whole generation at its end."""
        sampling = Sampling(max_steps, temperature, top_k, seed, stop)
        request = begin(request_of(prompt, sampling, model, version))
        return Tokens(self, TokenCursor(request, self.core.retry, lambda _: None))

    def models(self) -> tuple[Model, ...]:
        """Every version of every loaded model."""
        return self.run(list_models(self.core.retry))

    def model(self, name: str | None = None, version: str | None = None) -> Model:
        """One model; None: the only one, in its default version. Raises UnknownModel, UnknownVersion."""
        return self.run(self.core.catalog.find(name, version))

    def session(
        self,
        name: str,
        *,
        model: str | None = None,
        version: str | None = None,
        at: int | None = None,
        state: GivenState | None = None,
    ) -> Session:
        """A session to start or to continue. It sends nothing by itself.

        `at`: the step that it is at; 0 starts it, also where it has expired. None: ask the server.
        `state`: what a new session begins from; its first part raises SessionExists if the name is taken.
        """
        return Session(self, self.core.cursor(name, model=model, version=version, at=at, state=state))

    def stream(
        self,
        session: str,
        *,
        model: str | None = None,
        version: str | None = None,
        at: int | None = None,
        returns: Returns | None = None,
        outputs: Sequence[str] = (),
        encoding: Literal["json", "binary"] | None = None,
        in_flight: int = 1,
        state: GivenState | None = None,
        return_state: bool = False,
    ) -> Stream:
        """A session over a WebSocket, frame by frame. It connects at its first use.

        `in_flight`: frames without a reply, at most. `encoding`: default: binary for one input of numbers.
        `state`: what a new session begins from. `return_state`: each reply has a token of the state after it.
        """
        options = StreamOptions(
            model, version, returns, tuple(outputs), encoding, in_flight, state, return_state
        )
        return Stream(self, StreamCursor(session, options, self.core.catalog, self.core.retry, at=at))

    def sessions(self, *, model: str | None = None, after: str = "") -> Iterator[StoredSession]:
        """All live sessions in order of name, or those of a model, page by page."""
        following: str | None = after
        while following is not None:
            page = self.run(resources.list_page(self.core.retry, after=following, model=model))
            yield from page.sessions
            following = page.next

    def create_session(
        self,
        name: str,
        *,
        model: str | None = None,
        version: str | None = None,
        state: Mapping[str, Any] | None = None,
        step: int = 0,
        ttl_s: float | None = None,
        history: History | None = None,
        replace: bool = False,
        at: int | None = None,
        rewinds: int | None = None,
    ) -> Session:
        """A session with a state, a step, a time to live or a history of its own. Raises SessionExists.

        `at`, `rewinds`: replace the live session that is at this step and was rewound so often, and no other.
        """
        creation = resources.Creation(model, version, state, step, ttl_s, history, replace, at, rewinds)
        made = self.run(resources.create(name, creation, self.core.retry))
        return Session(self, self.core.cursor_of(made))

    def import_session(
        self,
        name: str,
        exported: bytes | str | Path,
        *,
        version: str | None = None,
        replace: bool = False,
        at: int | None = None,
        rewinds: int | None = None,
    ) -> Session:
        """A session from the bytes of an export, or from the file at a path. Raises BadExport.

        `at`, `rewinds`: as in `create_session`.
        """
        content = exported if isinstance(exported, bytes) else Path(exported).read_bytes()
        flow = resources.import_(
            name, content, self.core.retry, version=version, replace=replace, at=at, rewinds=rewinds
        )
        made = self.run(flow)
        return Session(self, self.core.cursor_of(made))

    def is_live(self) -> bool:
        """Whether the server's process answers. One attempt."""
        return self.run(check_health("/health/live"))

    def is_ready(self) -> bool:
        """Whether `predict` would be answered. One attempt."""
        return self.run(check_health("/health/ready"))
