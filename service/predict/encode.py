"""How `/predict` writes the answer to a sequence: its first output, outputs by name, states and gates.

It knows which parts a request wants; `codec` knows how each is written.
"""

from functools import partial

from service.codec import reply as replies
from service.codec.request import Document
from service.codec.returned import Returned, add_inside, states_of
from service.predict.request import Encode, outputs_named
from service.repository import Model
from service.sequence import Sequence


def encode_of(document: Document) -> Encode:
    """How the answers to a request are written."""
    encode = partial(_encode_named, document.outputs) if document.outputs else _encode_first
    returned = document.returned
    return encode if returned is None else partial(_encode_inside, returned, encode)


def _encode_inside(
    returned: Returned,
    encode: Encode,
    model: Model,
    sequence: Sequence,
    *,
    session: str | None,
    step: int | None,
) -> bytes:
    """What `encode` writes, if the output is requested, and the states and gates."""
    if returned.output is None:
        answer = replies.encode_nothing(session=session, step=step)
    else:
        answer = encode(model, sequence, session=session, step=step)
    gates = None
    if returned.gates is not None:
        manifest = model.manifest
        gates = [(manifest.outputs[index], sequence.output(index)) for index in manifest.gates]
    states = None if returned.state is None else states_of(model.layout, sequence)
    return add_inside(answer, states=states, gates=gates)


def _encode_first(model: Model, sequence: Sequence, *, session: str | None, step: int | None) -> bytes:
    manifest, output = model.manifest, sequence.output()
    if sequence.keep_all and manifest.outputs[0].steps == "last":  # beside gates of every step
        output = output[-1]
    return replies.encode_prediction(
        manifest.outputs[0],
        output,
        session=session,
        step=step,
        by_name=manifest.names_forecasts,
    )


def _encode_named(
    names: tuple[str, ...], model: Model, sequence: Sequence, *, session: str | None, step: int | None
) -> bytes:
    outputs = []
    for index in outputs_named(names, model.manifest):
        spec, output = model.manifest.outputs[index], sequence.output(index)
        is_single = sequence.keep_all and spec.steps == "last"  # [1, *dims], beside outputs of every step
        outputs.append((spec, output[-1] if is_single else output))
    return replies.encode_outputs(outputs, session=session, step=step, by_name=model.manifest.names_forecasts)
