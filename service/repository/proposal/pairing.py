"""Which output is the new value of which state input, as far as it is settled. It decides nothing."""

from dataclasses import dataclass, field

from service.repository.proposal.names import is_fed_back
from service.repository.proposal.subject import Subject


@dataclass
class Pairing:
    """Outputs by state input. An open state has no output yet: `open` holds the candidates."""

    pairs: dict[str, str] = field(default_factory=dict)
    sure: set[str] = field(default_factory=set)  # by the caller or the edges of the graph
    no_states: frozenset[str] = frozenset()  # inputs, by the caller
    open: dict[str, list[str]] = field(default_factory=dict)
    growing: dict[str, str] = field(default_factory=dict)  # states whose new value has another shape
    notes: list[str] = field(default_factory=list)

    @property
    def taken(self) -> set[str]:
        """The outputs that are new values."""
        return {*self.pairs.values(), *self.growing.values()}

    @property
    def fed_back(self) -> dict[str, str]:
        """The pairs that are answers which the next step takes, as far as their names say."""
        unsure = self.pairs.items() - {(name, self.pairs[name]) for name in self.sure}
        return {before: after for before, after in sorted(unsure) if is_fed_back(before, after)}


def fitting(subject: Subject, no_states: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """By input, the outputs of the same dtype and, at all sizes, the same shape."""
    outputs = {
        port.name: [shapes[port.name] for shapes in subject.shapes]
        for port in subject.probe.outputs
        if port.name not in subject.echoes
    }
    dtypes = {port.name: port.dtype for port in subject.probe.outputs}
    return {
        port.name: [
            name
            for name, shapes in outputs.items()
            if dtypes[name] == port.dtype and shapes == subject.signature(port)
        ]
        for port in subject.ports
        if port.name != subject.lengths and port.name not in no_states
    }
