"""Pairs states by shape where no cut can measure it: in graphs of one step, or of a fixed number, a call.

What has the shape of several outputs is paired by the operators that carry it there; else it stays open.
"""

from service.repository.proposal.names import NEW_STATE, NO_STATE, STATE_INPUT, is_fed_back
from service.repository.proposal.pairing import Pairing
from service.repository.proposal.subject import Subject

Loose = dict[str, list[str]]  # by input, the outputs of its shape


def settle_by_shape(subject: Subject, pairing: Pairing, loose: Loose) -> None:
    """Pair the loose inputs that are states, or leave them open with their candidates."""
    hinted = {name for name in loose if STATE_INPUT.search(name)}
    _settle_by_operators(subject, pairing, {name: loose[name] for name in loose if name in hinted})
    is_known = bool(pairing.pairs)  # what is no state has a name of another kind
    for name in sorted(loose.keys() - pairing.pairs.keys(), key=lambda name: (name not in hinted, name)):
        free = [other for other in loose[name] if other not in pairing.taken]
        marked = [other for other in free if NEW_STATE.search(other)]
        chosen = free if len(free) == 1 else marked
        if name not in hinted and (is_known or NO_STATE.search(name)):
            continue
        rivals = [
            other
            for other in loose.keys() - pairing.pairs.keys() - {name}
            if (other in hinted or name not in hinted) and set(loose[other]) & set(chosen)
        ]
        if len(chosen) == 1 and not rivals:
            pairing.pairs[name] = chosen[0]
            text = f"{name!r} is taken for a state with the new value {chosen[0]!r}, by its shape"
            if not is_fed_back(name, chosen[0]):  # which has a note of its own
                pairing.notes.append(f"{text}. If it is none: --no-state {name}")
        elif free:
            pairing.open[name] = free


def _settle_by_operators(subject: Subject, pairing: Pairing, hinted: Loose) -> None:
    """Pair each state that is only moved, scaled and added to on its way to one output, and alone on it."""
    reached = {
        name: [other for other in subject.edges.blended(name) if other in others]
        for name, others in hinted.items()
    }
    for name, others in reached.items():
        rivals = [other for other in reached if other != name and set(reached[other]) & set(others)]
        if len(others) == 1 and not rivals and others[0] not in pairing.taken:
            pairing.pairs[name] = others[0]
            pairing.notes.append(
                f"{name!r} is taken for a state with the new value {others[0]!r}: the graph carries it "
                "there, only moved, scaled and added to"
            )
