"""Runs the frames of all streams of a worker: what arrives in one turn of the event loop shares each step.

    frames ─ joined by session ─ turn ─ record ─ opened ─→ submitted ─→ computed ─→ committed ─→ answered
                                         ↑          └─→ the stored reply, or an error       (one transaction)
                                         └──────── another worker committed first ←──┘

There is no task a frame, and no read of the store while the session's last record is at hand: its revision is
compared at the commit. It knows the session rules and the models; it knows nothing of sockets.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import numpy as np

from service.codec.frames import Frame
from service.codec.request import Item
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Draining,
    SessionConflict,
    SessionMismatch,
)
from service.predict import frame_replies
from service.predict.aside import Aside, is_large
from service.predict.channel import Channel, Run, Socket
from service.predict.kept import check_unchanged, opening_state
from service.predict.pieces import compute_pieces
from service.repository import Model, Repository
from service.sequence import Origin, Sequence, State
from service.sessions import History, Opened, Record, Sessions

FORGET_S = 2.0  # after which the record of a session that is not used is dropped


class FrameRunner:
    """Moves frames from their channels to the worker, the store, and back."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        aside: Aside,
        *,
        max_steps: int,
        clock: Callable[[], float],
    ) -> None:
        """`max_steps`: of one chunk; `clock`: the event loop's; `aside`: writes large replies."""
        self._aside = aside
        self._repository = repository
        self._sessions = sessions
        self._turns = sessions.turns
        self._max_steps = max_steps
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ready: list[Channel] = []  # to be started in the next turn of the event loop
        self._computed: list[Run] = []
        self._committing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._touched: set[Socket] = set()  # with messages to be flushed
        self._recent: set[Channel] = set()  # that hold a record, and were used since the last `forget`
        self._older: set[Channel] = set()

    def receive(self, channel: Channel) -> None:
        """Something new waits in a channel."""
        if not channel.is_busy:
            channel.is_busy = True
            self._schedule(channel)

    def close(self, channel: Channel) -> None:
        """The client has disconnected: what is not computed yet is dropped at its next chunk."""
        channel.is_closed = True
        channel.waiting = channel.record = None
        run, channel.running = channel.running, None
        if run is not None:
            if run.task is None:
                run.model.worker.cancel(run.sequence)
            else:
                run.task.cancel()
            self._turns.release(channel.key)
            channel.is_busy = False

    def forget(self) -> None:
        """Drop the records of sessions that were not used since the last call."""
        for channel in self._older - self._recent:
            channel.record = None
            channel.held = []
        self._older, self._recent = self._recent, set()

    def _schedule(self, channel: Channel) -> None:
        if not self._ready:
            self._loop.call_soon(self._start_all)
        self._ready.append(channel)

    def _start_all(self) -> None:
        ready, self._ready = self._ready, []
        unread = []
        for channel in ready:
            self._answer_first(channel)
            if not channel.waiting:
                channel.is_busy = False
            elif not self._turns.take_free(channel.key):
                self._spawn(self._take_turn(channel))
            elif channel.record is None:
                unread.append(channel)
            else:
                self._start(channel, channel.record)
        if unread:
            self._spawn(self._read_all(unread))
        self._flush()

    def _answer_first(self, channel: Channel) -> None:
        """Answer what waits before the first frame."""
        while channel.waiting and not isinstance(first := channel.waiting[0], Frame):
            del channel.waiting[0]
            self._touched.add(channel.socket)
            if isinstance(first, CellgateError):
                self._fail(channel, first)
            else:
                first()

    async def _take_turn(self, channel: Channel) -> None:
        """Wait for other requests of the session."""
        first = channel.waiting[0] if channel.waiting else None
        deadline = first.deadline if isinstance(first, Frame) else self._clock()
        try:
            await self._turns.take(channel.key, deadline)
        except CellgateError as error:
            if channel.waiting:
                channel.waiting[0] = error
            self._settle(channel)
            self._flush()
            return
        await self._read_all([channel])

    async def _read_all(self, channels: list[Channel]) -> None:
        """Read the sessions' records, and start. The turns are taken."""
        for channel in channels:
            try:
                record = await self._sessions.find(channel.key)
            except CellgateError as error:
                if channel.waiting:
                    channel.waiting[0] = error
                self._end_turn(channel)
                continue
            self._start(channel, record)
        self._flush()

    def _start(self, channel: Channel, record: Record | None) -> None:
        """Run what waits first, and answer what need not run. The turn is taken."""
        self._answer_first(channel)
        while channel.waiting:
            first = channel.waiting[0]
            assert isinstance(first, Frame)
            try:
                if self._run(channel, first, record):
                    return
            except CellgateError as error:
                channel.waiting[0] = error
            self._answer_first(channel)
        self._end_turn(channel)

    def _run(self, channel: Channel, first: Frame, record: Record | None) -> bool:
        """Submit the first frame and those that join it, or answer it. Raises CellgateError.

        Returns whether it runs.
        """
        assert channel.waiting is not None
        if channel.has_conflict:
            raise _conflict(channel)
        model = self._model_of(channel)
        opened = self._open(channel, first, record, model)
        beginning = channel.beginning
        if opened.reply is not None:
            channel.beginning = None
            del channel.waiting[0]
            channel.socket.put(frame_replies.replay(channel, opened.reply), is_text=channel.form is None)
            self._touched.add(channel.socket)
            return False
        state = _state_of(model, first, opened) if beginning is None else beginning.state(model, first)
        frames = [first] if opened.history is not None else _joined(channel, opened.step, self._max_steps)
        run = Run(channel, frames, model, opened)
        run.sequence = _sequence_of(channel, frames, state)
        try:
            self._submit(run)
        except CellgateError as error:
            channel.waiting[: len(frames)] = [error] * len(frames)
            return False
        del channel.waiting[: len(frames)]
        channel.running = run
        return True

    def _open(self, channel: Channel, first: Frame, record: Record | None, model: Model) -> Opened:
        """Whether a frame may run. Raises CellgateError."""
        beginning = channel.beginning
        if beginning is not None:
            first.begin_from(beginning.given)
        return self._sessions.open(
            channel.key,
            record,
            model.binding,
            at=0 if channel.begins_anew and first.at is None else first.at,
            digest=first.digest,
            start="auto" if beginning is None else "given",
            is_pinned=channel.is_pinned,
            begin=0 if beginning is None else beginning.step,
            rewinds=channel.rewinds,
        )

    def _submit(self, run: Run) -> None:
        """Compute a run; `_end_run` follows. Raises Overloaded or Draining."""
        if run.opened.history is None:
            run.model.worker.submit(run.sequence, partial(self._end_run, run))
        else:
            run.task = self._spawn(self._compute_pieces(run, run.opened.history))

    async def _compute_pieces(self, run: Run, history: History) -> None:
        """Compute a run of a session that keeps states within it."""
        sequence, error = run.sequence, None
        item = Item(sequence.inputs, extra=sequence.extra)
        try:
            run.sequence, run.passed = await compute_pieces(
                run.model,
                item,
                sequence.state,
                history,
                run.opened.step,
                keep_all=sequence.keep_all,
                origin=sequence.origin,
            )
        except CellgateError as raised:
            error = raised
        self._end_run(run, error)

    def _model_of(self, channel: Channel) -> Model:
        """The channel's version as it is loaded now. Raises NotFound or ModelLoading."""
        model = self._repository.get(channel.model.name, channel.model.version)
        if model is not channel.model:
            channel.model = model
        return model

    def _end_run(self, run: Run, error: CellgateError | None) -> None:
        """A run has ended, in the worker's loop."""
        run.channel.running = None
        if error is not None:
            self._loop.call_soon(self._rerun, run, error)
            return
        self._computed.append(run)
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit_all())

    def _rerun(self, run: Run, error: CellgateError) -> None:
        """Of frames that were joined, only one may be at fault: run each alone."""
        channel = run.channel
        if channel.is_closed:
            self._end_turn(channel)
            return
        waiting = channel.waiting = channel.waiting or []
        if len(run.frames) == 1 or isinstance(error, DeadlineExceeded | Draining):
            waiting[:0] = [error] * len(run.frames)
        else:
            waiting[:0] = run.frames
            channel.num_alone = len(run.frames)
        self._start(channel, run.opened.existing)
        self._flush()

    async def _commit_all(self) -> None:
        try:
            while self._computed:
                runs, self._computed = self._computed, []
                await self._commit(runs)
        finally:
            self._committing = None

    async def _commit(self, runs: list[Run]) -> None:
        """Make computed frames part of their sessions, in one transaction, and answer them."""
        for run in runs:
            if is_large(run.sequence):
                await self._aside.run(partial(frame_replies.advance, run, self._sessions))
            else:
                frame_replies.advance(run, self._sessions)
        outcomes = await self._sessions.commit_all([(run.opened, run.record) for run in runs])
        for run, outcome in zip(runs, outcomes, strict=True):
            if outcome is True:
                self._committed(run)
            elif outcome is False:
                self._lost(run)
            else:
                self._refused(run, outcome)
        self._flush()

    def _committed(self, run: Run) -> None:
        channel, record = run.channel, run.record
        self._turns.release(channel.key)
        if channel.is_closed:
            channel.is_busy = False
            return
        if record.is_live:
            run.model.keep(channel.key, record.revision, run.sequence.state)
            channel.record, channel.held = record, run.held
            self._recent.add(channel)
        else:
            channel.record = None
        channel.begins_anew, channel.beginning = False, None
        channel.step = record.step
        is_text = channel.form is None
        for reply in run.replies:
            channel.socket.put(frame_replies.write(channel, reply), is_text=is_text)
        self._touched.add(channel.socket)
        self._settle(channel)

    def _lost(self, run: Run) -> None:
        """Another worker committed first: run again from the session's new state."""
        channel = run.channel
        channel.record = None
        if channel.waiting is not None:
            channel.waiting[:0] = run.frames
        self._end_turn(channel)

    def _refused(self, run: Run, error: CellgateError) -> None:
        """Nothing was applied."""
        channel = run.channel
        if channel.waiting is not None:
            channel.waiting[:0] = [error] * len(run.frames)
        self._end_turn(channel)

    def _end_turn(self, channel: Channel) -> None:
        self._turns.release(channel.key)
        self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        """Nothing of the channel runs: start what waits meanwhile."""
        if channel.waiting and not channel.is_closed:
            self._schedule(channel)
        else:
            channel.is_busy = False

    def _fail(self, channel: Channel, error: CellgateError) -> None:
        if isinstance(error, SessionConflict | SessionMismatch):
            channel.has_conflict = True
            step = error.members.get("step")
            channel.step = step if isinstance(step, int) else channel.step
        channel.socket.put(frame_replies.refuse(channel, error), is_text=True)

    def _flush(self) -> None:
        """Send the messages of this turn, those of one stream in one write."""
        touched, self._touched = self._touched, set()
        for socket in touched:
            socket.flush()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _conflict(channel: Channel) -> SessionConflict:
    return SessionConflict(
        f"an earlier frame did not fit the session, which is at step {channel.step}: open the channel again",
        members={"step": channel.step},
    )


def _state_of(model: Model, frame: Frame, opened: Opened) -> State:
    """The initial state, or that of the session as it was last committed.

    Raises InvalidField or SessionMismatch.
    """
    if opened.resumed is None:
        return opening_state(model, frame)
    model.layout.check_size(opened.resumed.state)
    state = model.resume(opened.key, opened.resumed.revision, opened.resumed.state)
    if frame.kept:
        if opened.step == 0 and not opened.resumed.is_begun:  # created without a request
            return opening_state(model, frame, state)
        check_unchanged(model, frame, state)
    return state


def _joined(channel: Channel, step: int, max_steps: int) -> list[Frame]:
    """The first frames that wait, as many as can be one chunk."""
    waiting = channel.waiting
    assert waiting and isinstance(waiting[0], Frame)
    frames = [waiting[0]]
    if channel.num_alone:
        channel.num_alone -= 1
        return frames
    if len(waiting) == 1:
        return frames
    steps = frames[0].steps
    for frame in waiting[1 : channel.max_joined]:
        if not isinstance(frame, Frame) or frames[-1].end or frame.at not in (None, step + steps):
            break
        if any(kept is not None for kept in frame.kept) or steps + frame.steps > max_steps:
            break
        frames.append(frame)
        steps += frame.steps
    return frames


def _sequence_of(channel: Channel, frames: list[Frame], state: State) -> Sequence:
    inputs = frames[0].inputs
    if len(frames) > 1:
        inputs = tuple(
            [np.concatenate(parts) for parts in zip(*[frame.inputs for frame in frames], strict=True)]
        )
    return Sequence(
        inputs,
        state,
        keep_all=channel.keep_all or len(frames) > 1,
        extra=channel.extra,
        origin=Origin(channel.tenant, frames[0].deadline),
    )
