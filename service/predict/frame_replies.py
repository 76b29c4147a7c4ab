"""The replies to frames: of a computed run, of a session's record, and to a frame that is refused.

It knows channels, outputs and the layout of replies; it knows nothing of sockets, turns or the worker.
"""

from typing import Any

from service.codec import frames, reply
from service.codec.returned import Returned, state_by_name, with_inside
from service.errors import CellgateError
from service.predict.channel import Channel, Run
from service.sequence import Array
from service.sessions import Opened, Sessions, replies
from service.sessions.replies import Answered


def advance(run: Run, sessions: Sessions, now_ms: int) -> None:
    """Encode the reply to each frame, and make the record that the session gets, as of `now_ms`."""
    channel, opened, sequence = run.channel, run.opened, run.sequence
    outputs = [sequence.output(index) for index in channel.computed]
    last, packed, steps = run.frames[-1], run.model.pack_state(sequence.state), sequence.steps
    if channel.max_in_flight == 1:  # the record is that of a request to `/predict`
        step = opened.step + steps
        stored = (
            _encode(channel, outputs, steps, step, last.end)
            if channel.returned is None
            else _encode_inside(run, channel.returned, outputs, steps, step, last.end)
        )
        if channel.write_token is not None:
            stored = reply.add_state(stored, channel.write_token(run.model, step, packed))
        run.replies = [stored]
        digest = last.digest
    else:
        held = _held(channel, opened)
        run.held = [*held, *_answered(run, outputs, packed)][-channel.max_in_flight :]
        stored, digest = replies.pack(run.held), replies.NO_DIGEST
    run.record = sessions.advance(
        opened,
        run.model.binding,
        steps=steps,
        state=packed,
        digest=digest,
        reply=stored,
        end=last.end,
        passed=run.passed,
        now_ms=now_ms,
    )


def write(channel: Channel, stored: bytes) -> bytes:
    """A reply as it is sent."""
    if channel.form is None:
        return frames.write_json(channel.number, stored)
    return frames.write_binary(channel.number, stored)


def replay(channel: Channel, stored: bytes) -> bytes:
    """A stored reply as it is sent again."""
    if channel.form is None:
        return frames.write_json(channel.number, stored, replayed=True)
    return frames.write_binary(channel.number, stored, replayed=True)


def refuse(channel: Channel, error: CellgateError) -> bytes:
    """The answer to a frame that was not applied."""
    return frames.write_error(channel.number, error)


def _answered(run: Run, outputs: list[Array], packed: bytes) -> list[bytes]:
    """The packed reply to each frame, in order; they are in `run.replies` too.

    `packed`: the state after the last of them; where replies have their state, there is one frame.
    """
    channel, is_one = run.channel, len(run.frames) == 1
    step, start = run.opened.step, 0
    answered: list[bytes] = []
    for frame in run.frames:
        stop = start + frame.steps
        own = outputs
        if not is_one:
            own = [output[start:stop] if channel.keep_all else output[stop - 1] for output in outputs]
        if channel.returned is None:
            stored = _encode(channel, own, frame.steps, step + stop, frame.end)
        else:
            stored = _encode_inside(run, channel.returned, own, frame.steps, step + stop, frame.end)
        if channel.write_token is not None:
            stored = reply.add_state(stored, channel.write_token(run.model, step + stop, packed))
        run.replies.append(stored)
        answered.append(Answered(step + start, step + stop, frame.digest, stored).pack())
        start = stop
    return answered


def _encode_inside(
    run: Run, returned: Returned, outputs: list[Array], steps: int, step: int, end: bool
) -> bytes:
    """`_encode` with states, or gates, or without the output."""
    channel, model = run.channel, run.model
    if returned.output is None:
        answer = reply.encode_nothing(session=channel.session, step=step)
    else:
        answer = _encode(channel, outputs, steps, step, end)
    gates = None
    if returned.gates is not None:
        by_index = dict(zip(channel.computed, outputs, strict=True))
        gates = [(model.manifest.outputs[index], by_index[index]) for index in model.manifest.gates]
    states = None if returned.state is None else state_by_name(model.layout, run.sequence.state)
    return with_inside(answer, states=states, gates=gates)


def _encode(channel: Channel, outputs: list[Array], steps: int, step: int, end: bool) -> bytes:
    """A reply as a session stores it: each output is [time, *dims] with `return: all`, else [*dims]."""
    if channel.form is not None:
        return frames.store_binary(outputs[0], steps if channel.keep_all else 1, step, ended=end)
    specs, by_name = channel.specs, channel.model.manifest.names_forecasts
    if not channel.output_names:
        first = outputs[0]
        if channel.keep_all and specs[0].steps == "last":  # beside gates of every step
            first = first[-1]
        return reply.encode_prediction(specs[0], first, session=channel.session, step=step, by_name=by_name)
    named: list[Any] = [
        (spec, output[-1] if channel.keep_all and spec.steps == "last" else output)
        for spec, output in zip(specs, outputs, strict=False)  # gates may follow
    ]
    return reply.encode_outputs(named, session=channel.session, step=step, by_name=by_name)


def _held(channel: Channel, opened: Opened) -> list[bytes]:
    """The packed replies that the session holds so far; none of a session that is begun anew."""
    if opened.resumed is None:
        return []
    if opened.resumed is channel.record and channel.held:
        return channel.held
    return [answered.pack() for answered in replies.of(opened.resumed)]
