"""Requests whose answers have states or gates: what is computed for them, and how it is written.

It knows which parts a request wants; `codec` knows how each is written.
"""

from functools import partial

from service.codec import reply as replies
from service.codec.returned import Returned, gates_of, states_of, with_inside
from service.manifest import Manifest
from service.predict.pieces import compute_each_step
from service.predict.request import ChooseOutputs, Encode, Request
from service.repository import Model
from service.sequence import Sequence


def add_inside(request: Request, returned: Returned) -> None:
    """Make answers hold what is listed."""
    request.returned = returned
    request.answers = request.outputs
    request.outputs = partial(_with_gates, request.answers, returned)
    request.encode = partial(_encode_inside, returned, request.encode)
    if returned.state is not None:
        request.compute = compute_each_step


def _with_gates(choose: ChooseOutputs, returned: Returned, manifest: Manifest) -> tuple[int, ...]:
    """The outputs that `choose` gives, and those that are gates. Raises GatesNotSupported."""
    return gates_of(manifest, returned, choose(manifest))


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
    return with_inside(answer, states=states, gates=gates)
