"""Runs the frames of all streams of a worker: what arrives in one turn of the event loop shares each step.

    frames ─ joined by session ─ turn ─ record ─ opened ─→ submitted ─→ computed ─→ committed ─→ answered
                                         ↑          └─→ the stored reply, or an error       (one transaction)
                                         └──────── another worker committed first ←──┘

There is no task a frame, and no read of the store while the session's last record is at hand: its revision is
compared at the commit. It knows the session rules and the models; it knows nothing of sockets.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from service.codec.frames import Frame
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Draining,
    InternalError,
    SessionConflict,
    SessionMismatch,
)
from service.memory import MemoryBudget
from service.predict import frame_chunk, frame_replies
from service.predict.aside import Aside
from service.predict.channel import Channel, Run, Socket
from service.predict.frame_commits import FrameCommits, Outcome
from service.predict.frame_openings import FrameOpenings
from service.predict.frame_turns import FrameTurns
from service.predict.kept import state_of
from service.predict.recent_records import RecentRecords
from service.predict.shadow import Shadows
from service.repository import Repository
from service.sessions import History, Record, Sessions

logger = logging.getLogger(__name__)


class FrameRunner:
    """Moves frames from their channels to the worker, the store, and back."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        aside: Aside,
        shadows: Shadows | None,
        memory: MemoryBudget,
        *,
        max_steps: int,
        clock: Callable[[], float],
    ) -> None:
        """`max_steps`: of one chunk; `clock`: the event loop's; `aside`: writes large replies."""
        self._commits = FrameCommits(
            sessions, aside, end=self._end_commit, fail=self._unanswered, flush=self._flush
        )
        self._openings = FrameOpenings(repository, sessions)
        self._repository = repository
        self._shadows = shadows
        self._memory = memory
        self._turns = FrameTurns(
            sessions,
            clock=clock,
            spawn=self._spawn,
            start=self._start,
            refuse=self._refuse_first,
            end=self._flush,
        )
        self._max_steps = max_steps
        self._loop = asyncio.get_running_loop()
        self._ready: list[Channel] = []  # to be started in the next turn of the event loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._touched: set[Socket] = set()  # with messages to be flushed
        self.records = RecentRecords()

    def receive(self, channel: Channel) -> None:
        """Something new waits in a channel."""
        if not channel.is_busy:
            channel.is_busy = True
            self._schedule(channel)

    def close(self, channel: Channel) -> None:
        """The client has disconnected: what is not computed yet is dropped at its next chunk."""
        channel.is_closed = True
        channel.waiting = None
        self.records.drop(channel)
        run, channel.running = channel.running, None
        if run is not None:
            if run.task is None:
                run.model.worker.cancel(run.sequence)
            else:
                run.task.cancel()
            self._turns.release(channel)
            channel.is_busy = False
        self._memory.give_back(channel.forget_answered())

    def _schedule(self, channel: Channel) -> None:
        if not self._ready:
            self._loop.call_soon(self._start_all)
        self._ready.append(channel)

    def _start_all(self) -> None:
        turns = self._turns
        ready, self._ready = self._ready, []
        unread = []
        for channel in ready:
            if channel.waiting and not isinstance(channel.waiting[0], Frame):
                self._answer_first(channel)
            if not channel.waiting:
                channel.is_busy = False
            elif not turns.take_free(channel):
                turns.wait(channel)
            elif channel.record is None:
                unread.append(channel)
            else:
                self._start(channel, channel.record)
        if unread:
            turns.read(unread)
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

    def _refuse_first(self, channel: Channel, error: CellgateError) -> None:
        """The first frame does not run. The turn is free."""
        if channel.waiting:
            channel.waiting[0] = error
        self._settle(channel)

    def _start(self, channel: Channel, record: Record | None) -> None:
        """Run what waits first, and answer what need not run. The turn is taken."""
        while channel.waiting:
            first = channel.waiting[0]
            if not isinstance(first, Frame):
                self._answer_first(channel)
                continue
            try:
                if self._run(channel, first, record):
                    return
            except CellgateError as error:
                channel.waiting[0] = error
            except Exception:  # a bug; the frame is answered all the same
                logger.exception("a frame of session %r failed", channel.session)
                channel.waiting[0] = InternalError()
        self._end_turn(channel)

    def _run(self, channel: Channel, first: Frame, record: Record | None) -> bool:
        """Submit the first frame and those that join it, or answer it. Raises CellgateError.

        Returns whether it keeps the turn.
        """
        assert channel.waiting is not None
        model = self._openings.model_of(channel)
        opened = self._openings.open(channel, first, record, model)
        if opened is None:
            self.records.drop(channel)
            self._turns.read([channel])
            return True
        beginning = channel.beginning
        if opened.reply is not None:
            channel.beginning = None
            del channel.waiting[0]
            channel.socket.put(frame_replies.replay(channel, opened.reply), is_text=channel.form is None)
            self._touched.add(channel.socket)
            return False
        state = state_of(model, first, opened) if beginning is None else beginning.state(model, first)
        frames = frame_chunk.join(channel, opened, self._max_steps)
        run = Run(channel, frames, model, opened)
        run.sequence = frame_chunk.sequence_of(channel, frames, state)
        try:
            self._submit(run)
        except CellgateError as error:
            channel.waiting[: len(frames)] = [error] * len(frames)
            return False
        del channel.waiting[: len(frames)]
        channel.running = run
        return True

    def _submit(self, run: Run) -> None:
        """Compute a run; `_end_run` follows. Raises Overloaded or Draining."""
        if run.opened.history is None:
            run.model.worker.submit(run.sequence, partial(self._end_run, run))
        else:
            run.task = self._spawn(self._compute_pieces(run, run.opened.history))

    async def _compute_pieces(self, run: Run, history: History) -> None:
        error = None
        try:
            await frame_chunk.compute_in_pieces(run, history)
        except CellgateError as raised:
            error = raised
        self._end_run(run, error)

    def _end_run(self, run: Run, error: CellgateError | None) -> None:
        """A run has ended, in the worker's loop."""
        run.channel.running = None
        if error is not None:
            self._loop.call_soon(self._rerun, run, error)
            return
        self._commits.add(run)

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

    def _end_commit(self, run: Run, outcome: Outcome) -> None:
        self._turns.release(run.channel)
        if outcome is True:
            self._committed(run)
        elif outcome is False:
            self._lost(run)
        else:
            self._unanswered(run, outcome)

    def _committed(self, run: Run) -> None:
        channel, record = run.channel, run.record
        if self._repository.has_shadows and self._shadows is not None:
            self._shadows.offer(frame_chunk.committed(run))
        if channel.is_closed:
            channel.is_busy = False
            return
        if record.is_live:
            run.model.keep(channel.key, record.revision, run.sequence.state)
            self.records.keep(channel, record, run.held)
        else:
            self.records.drop(channel)
        channel.begins_anew, channel.beginning, channel.step = False, None, record.step
        is_text = channel.form is None
        for reply in run.replies:
            channel.socket.put(frame_replies.write(channel, reply), is_text=is_text)
        self._touched.add(channel.socket)
        self._settle(channel)

    def _lost(self, run: Run) -> None:
        """Another worker committed first: run again from the session's new state."""
        channel = run.channel
        self.records.drop(channel)
        if channel.waiting is not None:
            channel.waiting[:0] = run.frames
        self._settle(channel)

    def _unanswered(self, run: Run, error: CellgateError) -> None:
        """Answer the frames with an error; as a rule, nothing of them was applied."""
        if run.channel.waiting is not None:
            run.channel.waiting[:0] = [error] * len(run.frames)
        self._settle(run.channel)

    def _end_turn(self, channel: Channel) -> None:
        self._turns.release(channel)
        self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        """Nothing of the channel runs: start what waits meanwhile."""
        self._memory.give_back(channel.forget_answered())
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
        self._openings.forget()
        touched, self._touched = self._touched, set()
        for socket in touched:
            socket.flush()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
