"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import httpx

from cellgate import resources
from cellgate.async_session import AsyncSession
from cellgate.catalog import list_models
from cellgate.connections import AsyncConnections
from cellgate.core import Core, Timing, check_health, predictions_of
from cellgate.generate import Prompt, Sampling, begin, generate, request_of
from cellgate.inputs import GivenState, Steps
from cellgate.models import Model, Returns
from cellgate.predict import Options, Result, predict
from cellgate.predictions import Generation, Prediction
from cellgate.resources import History, StoredSession
from cellgate.settings import Settings
from cellgate.stream import AsyncStream, StreamCursor, StreamOptions
from cellgate.token_iterators import AsyncTokens
from cellgate.tokens import TokenCursor


class AsyncClient(AsyncConnections):
    """A client of one server, for any number of tasks of one event loop.

        async with AsyncClient("http://127.0.0.1:8000") as client:
            print((await client.predict_one(x, model="vowels")).label)

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
        transport: httpx.AsyncBaseTransport | None = None,
        settings: Settings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
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

    async def predict_one(
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
        results = await self.run(predict([steps], options, self.core.catalog, self.core.retry, [state]))
        return predictions_of(results)[0]

    @overload
    async def predict(
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
    async def predict(
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

    async def predict(
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
        results = await self.run(predict(sequences, options, self.core.catalog, self.core.retry, states))
        return results if return_exceptions else predictions_of(results)

    async def generate(
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
        return await self.run(generate(prompt, sampling, self.core.retry, model, version))

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
    ) -> AsyncTokens:
        """The same, token by token: an iterator, whose `result` is the whole generation at its end."""
        sampling = Sampling(max_steps, temperature, top_k, seed, stop)
        request = begin(request_of(prompt, sampling, model, version))
        return AsyncTokens(self, TokenCursor(request, self.core.retry, lambda _: None))

    async def models(self) -> tuple[Model, ...]:
        """Every version of every loaded model."""
        return await self.run(list_models(self.core.retry))

    async def model(self, name: str | None = None, version: str | None = None) -> Model:
        """One model; None: the only one, in its default version. Raises UnknownModel, UnknownVersion."""
        return await self.run(self.core.catalog.find(name, version))

    def session(
        self,
        name: str,
        *,
        model: str | None = None,
        version: str | None = None,
        at: int | None = None,
        state: GivenState | None = None,
    ) -> AsyncSession:
        """A session to start or to continue. It sends nothing by itself.

        `at`: the step that it is at; 0 starts it, also where it has expired. None: ask the server.
        `state`: what a new session begins from; its first part raises SessionExists if the name is taken.
        """
        return AsyncSession(self, self.core.cursor(name, model=model, version=version, at=at, state=state))

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
    ) -> AsyncStream:
        """A session over a WebSocket, frame by frame. It connects at its first use.

        `in_flight`: frames without a reply, at most. `encoding`: default: binary for one input of numbers.
        `state`: what a new session begins from. `return_state`: each reply has a token of the state after it.
        """
        options = StreamOptions(
            model, version, returns, tuple(outputs), encoding, in_flight, state, return_state
        )
        return AsyncStream(self, StreamCursor(session, options, self.core.catalog, self.core.retry, at=at))

    async def sessions(self, *, model: str | None = None, after: str = "") -> AsyncIterator[StoredSession]:
        """All live sessions in order of name, or those of a model, page by page."""
        following: str | None = after
        while following is not None:
            page = await self.run(resources.list_page(self.core.retry, after=following, model=model))
            for stored in page.sessions:
                yield stored
            following = page.next

    async def create_session(
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
    ) -> AsyncSession:
        """A session with a state, a step, a time to live or a history of its own. Raises SessionExists.

        `at`, `rewinds`: replace the live session that is at this step and was rewound so often, and no other.
        """
        creation = resources.Creation(model, version, state, step, ttl_s, history, replace, at, rewinds)
        made = await self.run(resources.create(name, creation, self.core.retry))
        return AsyncSession(self, self.core.cursor_of(made))

    async def import_session(
        self,
        name: str,
        exported: bytes | str | Path,
        *,
        version: str | None = None,
        replace: bool = False,
        at: int | None = None,
        rewinds: int | None = None,
    ) -> AsyncSession:
        """A session from the bytes of an export, or from the file at a path. Raises BadExport.

        `at`, `rewinds`: as in `create_session`.
        """
        content = exported
        if not isinstance(content, bytes):
            content = await asyncio.to_thread(Path(content).read_bytes)
        flow = resources.import_(
            name, content, self.core.retry, version=version, replace=replace, at=at, rewinds=rewinds
        )
        made = await self.run(flow)
        return AsyncSession(self, self.core.cursor_of(made))

    async def is_live(self) -> bool:
        """Whether the server's process answers. One attempt."""
        return await self.run(check_health("/health/live"))

    async def is_ready(self) -> bool:
        """Whether `predict` would be answered. One attempt."""
        return await self.run(check_health("/health/ready"))
