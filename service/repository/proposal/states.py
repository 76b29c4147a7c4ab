"""Pairs state inputs with the outputs that hold their new values.

In this order: by the graph's edges, by names, then by shape and dtype, where cutting a sequence decides
between several. What remains open is said.
"""

import itertools
from dataclasses import dataclass, field

from service.repository.probe import Port
from service.repository.proposal.cuts import Cutter
from service.repository.proposal.names import NEW_STATE, NO_STATE, STATE_INPUT, match_by_name
from service.repository.proposal.subject import Subject

MAX_PAIRINGS = 64


@dataclass
class Pairing:
    """Outputs by state input. An open state has no output yet: `open` holds the candidates."""

    pairs: dict[str, str] = field(default_factory=dict)
    sure: set[str] = field(default_factory=set)  # by the caller or the edges of the graph
    open: dict[str, list[str]] = field(default_factory=dict)
    growing: dict[str, str] = field(default_factory=dict)  # states whose new value has another shape
    notes: list[str] = field(default_factory=list)


def fitting(subject: Subject) -> dict[str, list[str]]:
    """By input, the outputs of the same dtype and, at all sizes, the same shape."""
    outputs = {port.name: [shapes[port.name] for shapes in subject.shapes] for port in subject.probe.outputs}
    dtypes = {port.name: port.dtype for port in subject.probe.outputs}
    return {
        port.name: [
            name
            for name, shapes in outputs.items()
            if dtypes[name] == port.dtype and shapes == subject.signature(port)
        ]
        for port in subject.ports
        if port.name != subject.lengths
    }


def pair(subject: Subject, given: dict[str, str]) -> Pairing:
    """The states that the caller, the edges or the names settle. At least one input stays no state."""
    pairing, fits = Pairing(dict(given), set(given)), fitting(subject)
    found = _by_edges(subject, fits, given)
    if len(found.keys() | given.keys()) == len(fits):  # a loop over the whole input
        found = _without_sequences(subject, found, pairing)
    pairing.pairs |= found
    pairing.sure |= found.keys()
    possible = {
        name: [other for other in others if other not in _taken(pairing)]
        for name, others in fits.items()
        if name not in pairing.pairs
    }
    pairing.pairs |= _without_sequences(subject, match_by_name(possible), pairing)
    pairing.growing = _growing(subject, pairing)
    return pairing


def _growing(subject: Subject, pairing: Pairing) -> dict[str, str]:
    """State inputs by name, whose output of that name differs from them in size alone: caches that grow."""
    free = [port for port in subject.probe.outputs if port.name not in _taken(pairing)]
    alike = {
        port.name: [
            output.name
            for output in free
            if output.dtype == port.dtype and len(subject.shapes[0][output.name]) == len(port.shape)
        ]
        for port in subject.ports
        if port.name not in pairing.pairs and port.shape and STATE_INPUT.search(port.name)
    }
    fits = fitting(subject)
    return {name: output for name, output in match_by_name(alike).items() if output not in fits[name]}


def _by_edges(subject: Subject, fits: dict[str, list[str]], given: dict[str, str]) -> dict[str, str]:
    """The states of recurrent operators, loops and scans."""
    found: dict[str, str] = {}
    for each in subject.edges.recurrences():
        taken = {*given.values(), *found.values()}
        free = [name for name in each.outputs if name in fits.get(each.input, ()) and name not in taken]
        if each.has_cell and free and each.input not in given:
            found[each.input] = free[0]
    return found


def settle(subject: Subject, pairing: Pairing, main: Port, cutter: Cutter | None) -> bool:
    """Pair what is left by shape, and hold all pairs against a cut. False: the graph cannot be cut."""
    fits = fitting(subject)
    others = {main.name, subject.lengths, *pairing.growing}
    rest = [port.name for port in subject.ports if port.name not in others]
    loose = {
        name: [other for other in fits[name] if other not in _taken(pairing)]
        for name in rest
        if name not in pairing.pairs and not (cutter and _has_time(subject, name, cutter))
    }
    loose = {name: others for name, others in loose.items() if others}
    if cutter is None:
        _settle_without_time(pairing, loose)
        return True
    return _settle_by_cuts(pairing, loose, cutter, fits)


def _settle_by_cuts(
    pairing: Pairing, loose: dict[str, list[str]], cutter: Cutter, fits: dict[str, list[str]]
) -> bool:
    agreeing = [each for each in _choices(pairing.pairs, loose) if cutter.agrees(each)]
    if not agreeing and len(unsure := pairing.pairs.keys() - pairing.sure) > 1:
        agreeing = [each for each in _permuted(pairing, sorted(unsure), fits) if cutter.agrees(each)]
        if len(agreeing) == 1:
            pairing.notes.append("states are paired by measurement; their names say otherwise")
    if len(agreeing) == 1:
        found = agreeing[0].keys() - pairing.pairs.keys()
        pairing.notes += [
            f"{name!r} is a state: a sequence cut in pieces then gives the same" for name in sorted(found)
        ]
        pairing.pairs = agreeing[0]
        return True
    hinted = {name: others for name, others in loose.items() if STATE_INPUT.search(name)}
    if len(agreeing) > 1:
        unclear = {name for name in loose if len({each.get(name) for each in agreeing}) > 1}
        pairing.open |= {name: loose[name] for name in unclear}
        pairing.pairs |= {
            name: agreeing[0][name] for name in loose if name not in unclear and name in agreeing[0]
        }
        return True
    for name, others in hinted.items():
        free = [other for other in others if other not in _taken(pairing)]
        if len(free) == 1:
            pairing.pairs[name] = free[0]
        elif free:
            pairing.open[name] = free
    return False


def _settle_without_time(pairing: Pairing, loose: dict[str, list[str]]) -> None:
    """One step a call: nothing can be cut, so only shapes and hints are left."""
    for name in sorted(loose, key=lambda name: not STATE_INPUT.search(name)):
        free = [other for other in loose[name] if other not in _taken(pairing)]
        marked = [other for other in free if NEW_STATE.search(other)]
        rivals = [other for other in loose if other != name and other not in pairing.pairs]
        hinted = bool(STATE_INPUT.search(name))
        chosen = free if len(free) == 1 else marked
        is_likely = not (pairing.pairs or NO_STATE.search(name)) and not any(
            set(loose[rival]) & set(chosen) for rival in rivals
        )
        if len(chosen) == 1 and (hinted or is_likely):
            pairing.pairs[name] = chosen[0]
            pairing.notes.append(
                f"{name!r} is taken for a state with the new value {chosen[0]!r}, by its shape"
            )
        elif free and hinted:
            pairing.open[name] = free


def _choices(pairs: dict[str, str], loose: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every way to pair the loose inputs, or to leave them as inputs."""
    options = itertools.product(*([None, *others] for others in loose.values()))
    choices = []
    for outputs in itertools.islice(options, MAX_PAIRINGS):
        chosen = {name: output for name, output in zip(loose, outputs, strict=True) if output is not None}
        if len(set(chosen.values())) == len(chosen):
            choices.append(pairs | chosen)
    return choices


def _permuted(pairing: Pairing, names: list[str], fits: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every other way to pair these inputs with their outputs."""
    outputs = [pairing.pairs[name] for name in names]
    ways = itertools.islice(itertools.permutations(outputs), 1, MAX_PAIRINGS)
    return [
        pairing.pairs | dict(zip(names, way, strict=True))
        for way in ways
        if all(output in fits[name] for name, output in zip(names, way, strict=True))
    ]


def _without_sequences(subject: Subject, named: dict[str, str], pairing: Pairing) -> dict[str, str]:
    """Leave out inputs that are no states: those with an axis of their own, such as `audio` → `audio_out`."""
    groups = {port.name: {g for g in subject.input_groups(port) if g is not None} for port in subject.ports}
    candidates = [name for name in groups if name not in pairing.pairs and name != subject.lengths]
    rest = [name for name in candidates if name not in named]
    for name in sorted(named, key=lambda name: (bool(STATE_INPUT.search(name)), -len(groups[name]))):
        others = [set(groups[other]) for other in groups if other != name]
        own = groups[name] - set().union(*others) if others else groups[name]
        if (own and not STATE_INPUT.search(name)) or not rest:
            named = {key: output for key, output in named.items() if key != name}
            rest.append(name)
    return named


def _has_time(subject: Subject, name: str, cutter: Cutter) -> bool:
    port = next(port for port in subject.ports if port.name == name)
    return cutter.group in subject.input_groups(port)


def _taken(pairing: Pairing) -> set[str]:
    return {*pairing.pairs.values(), *pairing.growing.values()}
