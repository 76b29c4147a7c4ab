"""Pairs state inputs with the outputs that hold their new values.

In this order: by the graph's edges, by names, then by shape and dtype, where cutting a sequence decides
between several. A field that remains open is reported.
"""

import itertools

from service.repository.probe import Port
from service.repository.proposal.cuts import Cutter
from service.repository.proposal.names import STATE_INPUT, match_by_name
from service.repository.proposal.pairing import Pairing, fitting
from service.repository.proposal.shapes import settle_by_shape
from service.repository.proposal.subject import Subject

MAX_PAIRINGS = 64


def pair(subject: Subject, given: dict[str, str], no_states: frozenset[str] = frozenset()) -> Pairing:
    """The states that the caller, the edges or the names settle. At least one input stays no state.

    `no_states`: inputs that the caller says are none.
    """
    pairing, fits = Pairing(dict(given), set(given), no_states), fitting(subject, no_states)
    pairing.notes += _doubts(subject, fits, given)
    found = _by_edges(subject, fits, given)
    if len(found.keys() | given.keys()) == len(fits):  # a loop over the whole input
        found = _without_sequences(subject, found, pairing)
    pairing.pairs |= found
    pairing.sure |= found.keys()
    possible = {
        name: [other for other in others if other not in pairing.taken]
        for name, others in fits.items()
        if name not in pairing.pairs
    }
    pairing.pairs |= _without_sequences(subject, match_by_name(possible), pairing)
    pairing.growing = _growing(subject, pairing)
    return pairing


def _growing(subject: Subject, pairing: Pairing) -> dict[str, str]:
    """State inputs by name, whose output of that name differs from them in size alone: caches that grow."""
    free = [port for port in subject.probe.outputs if port.name not in pairing.taken]
    alike = {
        port.name: [
            output.name
            for output in free
            if output.dtype == port.dtype and len(subject.shapes[0][output.name]) == len(port.shape)
        ]
        for port in subject.ports
        if port.name not in {*pairing.pairs, *pairing.no_states}
        and port.shape
        and STATE_INPUT.search(port.name)
    }
    fits = fitting(subject, pairing.no_states)
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
    fits = fitting(subject, pairing.no_states)
    others = {main.name, subject.lengths, *pairing.growing, *pairing.no_states}
    rest = [port.name for port in subject.ports if port.name not in others]
    loose = {
        name: [other for other in fits[name] if other not in pairing.taken]
        for name in rest
        if name not in pairing.pairs and not (cutter and _has_time(subject, name, cutter))
    }
    loose = {name: others for name, others in loose.items() if others}
    if cutter is None:
        settle_by_shape(subject, pairing, loose)
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
        free = [other for other in others if other not in pairing.taken]
        if len(free) == 1:
            pairing.pairs[name] = free[0]
        elif free:
            pairing.open[name] = free
    return False


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


def _doubts(subject: Subject, fits: dict[str, list[str]], given: dict[str, str]) -> list[str]:
    """Given pairs that the operators contradict: the state is moved or added to another output."""
    notes = []
    for name, output in given.items():
        reached = [other for other in subject.edges.blended(name) if other in fits.get(name, ())]
        if len(reached) == 1 and output not in reached:
            notes.append(
                f"--state {name}={output}: the operators of the graph carry {name!r} to {reached[0]!r} "
                "instead; compare the order in which the module returns its states"
            )
    return notes
