"""How `/predict` writes the answer to a sequence: its first output, or outputs by name.

It knows models; `codec` knows JSON. `inside` adds states and gates.
"""

from service.codec import reply as replies
from service.predict.request import outputs_named
from service.repository import Model
from service.sequence import Sequence


def encode_first(model: Model, sequence: Sequence, *, session: str | None, step: int | None) -> bytes:
    """Implements `Encode`."""
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


def encode_named(
    names: tuple[str, ...], model: Model, sequence: Sequence, *, session: str | None, step: int | None
) -> bytes:
    """Implements `Encode`, of outputs by name."""
    outputs = []
    for index in outputs_named(names, model.manifest):
        spec, output = model.manifest.outputs[index], sequence.output(index)
        is_single = sequence.keep_all and spec.steps == "last"  # [1, *dims], beside outputs of every step
        outputs.append((spec, output[-1] if is_single else output))
    return replies.encode_outputs(outputs, session=session, step=step, by_name=model.manifest.names_forecasts)
