"""The use case behind streams: channels opened on sessions, and frames taken in.

It knows models, session rules and decoded frames; it knows nothing of sockets but what `Socket` says.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from service.codec.frames import BinaryForm, Frame, Opening, decode_frame
from service.codec.returned import gates_of, inside_bytes
from service.codec.sizes import prediction_bytes
from service.errors import CellgateError, InvalidField, ReplyTooLarge, SessionNotSupported
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget
from service.names import names_number
from service.predict.aside import Aside
from service.predict.beginning import Beginnings
from service.predict.channel import Channel, Socket
from service.predict.frame_runner import FrameRunner
from service.predict.request import outputs_named
from service.predict.session_run import model_of_session
from service.predict.shadow import Shadows
from service.repository import Model, Repository
from service.sessions import Record, Sessions, check_resumable, session_key, token_chars


class Streams:
    """Opens channels, and runs their frames."""

    def __init__(
        self,
        repository: Repository,
        sessions: Sessions,
        aside: Aside,
        beginnings: Beginnings,
        shadows: Shadows | None,
        memory: MemoryBudget,
        *,
        max_in_flight: int,
        max_steps: int,
        max_reply_bytes: int,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`max_in_flight`: frames of a session without a reply; `timeout_s`: for each frame.

        `memory`: of frames that are not answered yet. `shadows`: None: no version is a shadow.
        """
        self.max_in_flight = max_in_flight
        self._repository = repository
        self._sessions = sessions
        self._beginnings = beginnings
        self._max_steps = max_steps
        self._max_reply_bytes = max_reply_bytes
        self._timeout_s = timeout_s
        self._clock = clock
        self._memory = memory
        self._runner = FrameRunner(
            repository, sessions, aside, shadows, memory, max_steps=max_steps, clock=clock
        )

    async def open(self, opening: Opening, tenant: str, socket: Socket) -> Channel:
        """A channel on a session, which may not exist yet. Nothing is stored.

        Raises NotFound, ModelLoading, SessionGone, SessionConflict, SessionMismatch, SessionExists,
        StateMismatch, InvalidState or an InvalidField.
        """
        model = self._repository.get(opening.model, opening.version)
        key = session_key(tenant, opening.session)
        beginning = None if opening.state is None else await self._beginnings.find(tenant, opening.state)
        record = await self._sessions.find(key)
        is_pinned = names_number(opening.version)
        if beginning is not None and beginning.token is not None:
            model = self._beginnings.model_of(beginning, model, is_pinned=is_pinned)
        elif not is_pinned:
            model = self._model_of(record, model, opening, tenant)
        if beginning is not None:
            beginning.check(model)
        channel = Channel(opening, socket, key, model, tenant)
        channel.is_pinned = is_pinned
        self._choose(channel, opening)
        channel.step, channel.begins_anew = check_resumable(
            record,
            model.binding,
            self._sessions.now_ms(),
            at=opening.at,
            rewinds=opening.rewinds,
            begin=None if beginning is None else beginning.step,
        )
        if beginning is not None and opening.at in (None, beginning.step):
            channel.beginning = beginning
        channel.rewinds = record.rewinds if record is not None and record.is_live else 0
        return channel

    def receive_binary(self, channel: Channel, payload: bytes) -> None:
        """Take in a binary frame of the channel."""
        try:
            self._memory.check(len(payload) * BYTES_PER_BODY_BYTE)
            if channel.form is None:
                raise InvalidField('the channel was opened with the encoding "json"', pointer="/encoding")
            frame: Frame | CellgateError = channel.form.decode(payload)
        except CellgateError as error:
            frame = error
        self._receive(channel, frame)

    def receive_json(self, channel: Channel, document: dict[str, Any], num_bytes: int) -> None:
        """Take in a frame in JSON of so many bytes."""
        try:
            self._memory.check(num_bytes * BYTES_PER_BODY_BYTE)
            if channel.form is not None:
                raise InvalidField('the channel was opened with the encoding "binary"', pointer="/encoding")
            frame: Frame | CellgateError = decode_frame(
                document,
                channel.model.manifest,
                keep_all=channel.keep_all,
                outputs=channel.output_names,
                max_steps=self._max_steps,
                returns_state=channel.write_token is not None,
                returned=channel.returned,
            )
        except CellgateError as error:
            frame = error
        self._receive(channel, frame)

    def refuse(self, channel: Channel, error: CellgateError) -> None:
        """Answer a frame, in its place among the others, with an error."""
        self._receive(channel, error)

    def call(self, channel: Channel, done: Callable[[], None]) -> None:
        """Call `done` once all frames so far are answered."""
        waiting = channel.waiting = channel.waiting or []
        waiting.append(done)
        self._runner.receive(channel)

    def forget(self) -> None:
        """Drop the records of sessions that were not used since the last call."""
        self._runner.records.forget()

    def close(self, channel: Channel) -> None:
        """Drop a channel, with the frames that are not computed yet."""
        self._runner.close(channel)

    def _receive(self, channel: Channel, frame: Frame | CellgateError) -> None:
        if isinstance(frame, Frame):
            frame.deadline = self._clock() + self._timeout_s
            num_bytes = frame.num_bytes
            self._memory.hold(num_bytes)
            channel.num_bytes += num_bytes
            most = channel.max_reply_steps
            if most is not None and frame.steps > most:
                frame = ReplyTooLarge(
                    f"the reply would have {frame.steps} steps; with {channel.max_in_flight} frames in "
                    f"flight at most {most} are stored: send shorter frames, or set max_frames_in_flight"
                )
        waiting = channel.waiting
        if waiting is None:
            channel.waiting = [frame]
        else:
            waiting.append(frame)
        self._runner.receive(channel)

    def _model_of(self, record: Record | None, model: Model, opening: Opening, tenant: str) -> Model:
        """A session stays with its version; a new one may start on a canary."""
        if record is None or not record.is_live:
            if opening.version is None:
                return self._repository.get_for_session(model, tenant, opening.session)
            return model
        return model_of_session(self._repository, model, record)

    def _choose(self, channel: Channel, opening: Opening) -> None:
        """Set what of the model the channel uses. Raises InvalidField or SessionNotSupported."""
        model, manifest = channel.model, channel.model.manifest
        if not manifest.chunkable:
            reason = "has no state" if manifest.causal else "reads each sequence from both ends"
            raise SessionNotSupported(f"{model.name} {reason}", pointer="/session")
        if opening.outputs:
            channel.outputs = outputs_named(opening.outputs, manifest)
        channel.computed = channel.outputs
        if opening.returned is not None:
            channel.computed = gates_of(manifest, opening.returned, channel.outputs)
        channel.extra = tuple([index for index in channel.computed if index])
        has_steps = [manifest.outputs[index].steps == "all" for index in channel.computed]
        wants_all = (opening.returns or manifest.default_return) == "all"
        channel.keep_all = wants_all and (any(has_steps) or opening.returns is not None)
        if channel.keep_all and not any(has_steps):
            raise InvalidField(f"{model.name} has an output for the last step only", pointer="/return")
        if (returned := opening.returned) is not None and returned.state is not None and channel.keep_all:
            raise InvalidField(
                'a reply has the state after its frame: add "last", and send frames of one step',
                pointer=returned.pointer(returned.state),
            )
        if opening.returns_state:
            channel.write_token = partial(self._beginnings.write, channel.tenant)
        if opening.is_binary:
            channel.form = BinaryForm(manifest, keep_all=channel.keep_all, max_steps=self._max_steps)
        channel.max_in_flight = min(opening.max_in_flight or self.max_in_flight, self.max_in_flight)
        has_state = opening.returns_state or (returned is not None and returned.state is not None)
        can_join = all(has_steps) and not has_state  # whose frames each need their own state
        channel.max_joined = channel.max_in_flight if can_join else 1
        self._bound_reply(channel)

    def _bound_reply(self, channel: Channel) -> None:
        """The replies that a record holds together have at most the size of one reply to `/predict`."""
        dtypes = channel.model.output_dtypes
        manifest, returned = channel.model.manifest, channel.returned
        outputs = [(manifest.outputs[index], dtypes[index]) for index in channel.computed]

        def size_of(steps: int) -> int:
            size = prediction_bytes(outputs, steps, by_name=manifest.names_forecasts)
            if returned is not None:
                size += inside_bytes(channel.model.layout, returned, manifest, steps)
            return size

        of_one = size_of(1)
        if channel.write_token is not None:
            of_one += token_chars(channel.model.layout.num_bytes)
        per_step = size_of(2) - size_of(1)
        most = self._max_reply_bytes // channel.max_in_flight
        if of_one > most:
            raise ReplyTooLarge(
                f"a reply could have {of_one} bytes; with {channel.max_in_flight} frames in flight the "
                f"maximum is {most}: set max_frames_in_flight",
                pointer="/max_frames_in_flight",
            )
        if channel.keep_all:
            channel.max_reply_steps = 1 + (most - of_one) // max(per_step, 1)
