"""The frames of a channel that become one chunk: which ones, from which state, with which inputs.

It knows channels, sessions and models; it knows no turns, stores or sockets.
"""

import numpy as np

from service.codec.frames import Frame
from service.codec.request import Item
from service.errors import SessionMismatch
from service.manifest import Manifest
from service.predict.channel import Channel, Run
from service.predict.pieces import compute_pieces
from service.predict.request import Request
from service.predict.shadow import Committed
from service.predict.timed import timed_inputs
from service.repository import Model
from service.sequence import Origin, Sequence, State
from service.sessions import History, Opened


def join(channel: Channel, opened: Opened, max_steps: int) -> list[Frame]:
    """The first frames that wait, as many as can be one chunk. A session keeps the state before each."""
    waiting = channel.waiting
    assert waiting and isinstance(waiting[0], Frame)
    frames = [waiting[0]]
    if channel.num_alone:
        channel.num_alone -= 1
        return frames
    # A time may be refused, and is then the error of its frame alone.
    if len(waiting) == 1 or frames[0].times is not None or opened.history is not None:
        return frames
    step, steps = opened.step, frames[0].steps
    for frame in waiting[1 : channel.max_joined]:
        if not isinstance(frame, Frame) or frames[-1].end or frame.at not in (None, step + steps):
            break
        if (
            frame.times is not None
            or any(kept is not None for kept in frame.kept)
            or steps + frame.steps > max_steps
        ):
            break
        frames.append(frame)
        steps += frame.steps
    return frames


def sequence_of(channel: Channel, frames: list[Frame], state: State) -> Sequence:
    """The chunk, to be computed."""
    inputs = frames[0].inputs
    if (times := frames[0].times) is not None:
        inputs = timed_inputs(channel.model, inputs, times, state)
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


async def compute_in_pieces(run: Run, history: History) -> None:
    """Compute a run of a session that keeps states within it. Raises what the worker does."""
    sequence = run.sequence
    run.sequence, run.passed = await compute_pieces(
        run.model,
        Item(sequence.inputs, extra=sequence.extra),
        sequence.state,
        history,
        run.opened.step,
        keep_all=sequence.keep_all,
        origin=sequence.origin,
    )


def committed(run: Run) -> Committed:
    """A run, for the shadow of its version: as one request."""
    channel, sequence = run.channel, run.sequence
    item = Item(sequence.inputs, session=channel.session, kept=run.frames[0].kept)
    request = Request(run.model, 1, _not_again, _not_encoded, tenant=channel.tenant)
    return Committed(run.model, request, 0, item, sequence, run.opened, run.record)


def _not_encoded(model: Model, sequence: Sequence, *, session: str | None, step: int | None) -> bytes:
    """The reply to a chunk is encoded frame by frame."""
    raise AssertionError((model, sequence, session, step))


def _not_again(index: int, manifest: Manifest) -> Item:  # noqa: ARG001
    """Frames are not kept as they arrived, so a shadow with other inputs misses them."""
    raise SessionMismatch("the shadow has other inputs than the version whose frames it is to follow")
