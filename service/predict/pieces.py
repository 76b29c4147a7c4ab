"""Computes a request of a session in pieces, so that the states that its history keeps are seen in between.

It knows models and histories; it knows nothing of stores or HTTP.
"""

from itertools import pairwise

from service.codec.request import Item
from service.predict.request import compute_steps
from service.predict.timed import with_times
from service.repository import Model
from service.sequence import Origin, Sequence, State
from service.sessions import Checkpoint, History


async def compute_pieces(
    model: Model,
    item: Item,
    state: State,
    history: History | None,
    start: int,
    *,
    keep_all: bool,
    origin: Origin,
    each_step: bool = False,
) -> tuple[Sequence, list[Checkpoint]]:
    """The item's steps from step `start` of a session on, and the states within them that are to be kept.

    A model with a fixed time axis is cut at multiples of its size only. `each_step`: the sequence has the
    state after each step.
    """
    item = with_times(model, item, state)
    kept = [] if history is None else cuts_of(model, item, history, start)
    cuts = range(1, item.steps) if each_step else kept
    pieces: list[Sequence] = []
    checkpoints: list[Checkpoint] = []
    for first, last in pairwise((0, *cuts, item.steps)):
        piece = Item(tuple([x[first:last] for x in item.inputs]), extra=item.extra)
        computed = await compute_steps(model, piece, state, keep_all=keep_all, origin=origin)
        pieces.append(computed)
        state = computed.state
        if last in kept:
            checkpoints.append(Checkpoint(start + last, model.pack_state(state)))
    whole = joined(model, item, pieces)
    whole.states = tuple([piece.state for piece in pieces]) if each_step else ()
    return whole, checkpoints


async def compute_each_step(
    model: Model, item: Item, state: State, *, keep_all: bool, origin: Origin
) -> Sequence:
    """Implements `Compute`: with the state after each step, if the output of each step is kept too."""
    if not keep_all:
        return await compute_steps(model, item, state, keep_all=keep_all, origin=origin)
    sequence, _ = await compute_pieces(
        model, item, state, None, 0, keep_all=keep_all, origin=origin, each_step=True
    )
    return sequence


def cuts_of(model: Model, item: Item, history: History, start: int) -> list[int]:
    """After how many of the item's steps there is a state that is to be kept."""
    multiple = model.manifest.step_multiple
    kept = history.multiples(start, start + item.steps)
    return [step - start for step in kept if (step - start) % multiple == 0]


def _drop_last_outputs(model: Model, piece: Sequence) -> None:
    """Leave out the outputs that a graph has for the last step only: that of the whole sequence counts."""
    is_last = [spec.steps == "last" for spec in model.manifest.outputs]
    if piece.keep_all and is_last[0]:
        piece.outputs = [output[:0] for output in piece.outputs]
    if piece.keep_all and piece.extra:
        piece.extras = [
            tuple(x[:0] if is_last[index] else x for index, x in zip(piece.extra, outputs, strict=True))
            for outputs in piece.extras
        ]


def joined(model: Model, item: Item, pieces: list[Sequence]) -> Sequence:
    """One computed sequence of consecutive ones."""
    last = pieces[-1]
    for piece in pieces[:-1]:
        _drop_last_outputs(model, piece)
    return Sequence(
        item.inputs,
        last.state,
        keep_all=last.keep_all,
        done=item.steps,
        outputs=[output for piece in pieces for output in piece.outputs],
        extra=item.extra,
        extras=[outputs for piece in pieces for outputs in piece.extras],
        run_s=sum([piece.run_s for piece in pieces]),
        origin=last.origin,
    )
