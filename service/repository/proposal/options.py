"""What a person has settled before a proposal is made: the options of `cellgate inspect`."""

from dataclasses import dataclass, field
from typing import Any

NO_AXIS = -1  # of `time_axis` and `batch_axis`: there is none


@dataclass(slots=True, frozen=True)
class Options:
    """None and empty: it is measured, or stays open."""

    time_axis: int | None = None  # a position; NO_AXIS: the graph has none
    batch_axis: int | None = None
    states: dict[str, str] = field(default_factory=dict)  # output by input
    no_states: tuple[str, ...] = ()  # inputs that requests give
    per_sequence: tuple[str, ...] = ()  # inputs that requests give once
    answers: tuple[str, ...] = ()  # outputs to answer, also if they are new states
    constants: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # by input: the shape of a step in the graph
    audio: dict[str, int] = field(default_factory=dict)  # by input: samples a second
    window: int | None = None  # numbers along the first dim that one call takes
    hop: int | None = None  # new ones among them
    carry: int | None = None  # those of the steps before
    task: str | None = None
    labels: tuple[str, ...] = ()
    steps: Any = None  # of the example

    def unknown(self, inputs: set[str], outputs: set[str]) -> list[str]:
        """What is wrong with the names in options, for a graph with these inputs and outputs."""
        given = [("input", inputs, name) for name in (*self.no_states, *self.per_sequence)]
        given += [
            ("input", inputs, name) for name in (*self.states, *self.constants, *self.dims, *self.audio)
        ]
        given += [("output", outputs, name) for name in (*self.answers, *self.states.values())]
        return [
            f"the graph has no {what} {name!r}, which an option names; it has {', '.join(sorted(names))}"
            for what, names, name in given
            if name not in names
        ]
