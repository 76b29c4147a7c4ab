"""Whether the next frame of a channel may run: on which version, and from where in its session.

It knows models and session rules; it knows nothing of turns, the worker or sockets.
"""

from service.codec.frames import Frame
from service.errors import CellgateError, NotFound, SessionConflict, SessionMismatch
from service.predict.channel import Channel
from service.repository import Model, Repository
from service.sessions import Opened, Record, Sessions

_AGAIN = ": open the channel again, which continues on the session's version"


class FrameOpenings:
    """Opens sessions for frames, many in one turn of the event loop."""

    def __init__(self, repository: Repository, sessions: Sessions) -> None:
        self._repository = repository
        self._sessions = sessions
        # Of channels, and as loaded now; until `forget`. By id, since a model's hash takes long.
        self._models: dict[int, tuple[Model, Model]] = {}

    def forget(self) -> None:
        """Look models up again from now on: the turn of the event loop ends."""
        self._models.clear()

    def model_of(self, channel: Channel) -> Model:
        """The channel's version as it is loaded now.

        Raises NotFound, ModelLoading, or SessionMismatch where another opening may find another version.
        """
        known = channel.model
        found = self._models.get(id(known))
        if found is None:
            try:
                found = self._models[id(known)] = known, self._repository.get(known.name, known.version)
            except NotFound as error:
                if channel.is_pinned:
                    raise
                raise SessionMismatch(
                    f"{known.name} version {known.version} is not loaded any more{_AGAIN}"
                ) from error
        channel.model = found[1]
        return found[1]

    def open(self, channel: Channel, first: Frame, record: Record | None, model: Model) -> Opened | None:
        """The session with the frame, by its rules; None: the record has to be read. Raises CellgateError.

        A commit finds out that the record at hand is behind the store. A refusal or a stored reply has none.
        """
        if channel.has_conflict:
            raise _conflict(channel)
        is_at_hand = record is not None and record is channel.record
        beginning = channel.beginning
        if beginning is not None:
            first.begin_from(beginning.given)
        try:
            opened = self._sessions.open(
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
        except CellgateError as error:
            if is_at_hand:
                return None
            if isinstance(error, SessionMismatch) and not channel.is_pinned:
                error.detail += _AGAIN
            raise
        return None if is_at_hand and opened.reply is not None else opened


def _conflict(channel: Channel) -> SessionConflict:
    return SessionConflict(
        f"an earlier frame did not fit the session, which is at step {channel.step}: open the channel again",
        members={"step": channel.step},
    )
