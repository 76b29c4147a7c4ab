"""Puts a manifest's document together from what was measured; what is not known is written "?"."""

from dataclasses import dataclass, field
from typing import Any

from service.repository.graph_file import GraphFile
from service.repository.probe import Port, ports
from service.repository.proposal.axes import Layout, all_layouts, choose_layout
from service.repository.proposal.cuts import Cutter
from service.repository.proposal.names import STATE_INPUT, TIME_AXIS
from service.repository.proposal.open_fields import OPEN
from service.repository.proposal.options import NO_AXIS, Options
from service.repository.proposal.outputs import answers
from service.repository.proposal.outputs import describe as describe_output
from service.repository.proposal.states import Pairing, pair, settle
from service.repository.proposal.subject import Subject

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass
class Description:
    """A manifest's document without an example, and what to tell about it."""

    document: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)  # what no field can express


def describe(subject: Subject, file: GraphFile, name: str, options: Options) -> Description:
    """Measure the graph and describe it."""
    return _Describer(subject, file, options).describe(name)


class _Describer:
    def __init__(self, subject: Subject, file: GraphFile, options: Options) -> None:
        self.subject, self.file, self.options = subject, file, options
        self.notes: list[str] = []
        self.details: list[str] = []
        self.pairing = pair(subject, _known_pairs(subject, options))
        self.main = self._main_input()
        self.layout, self.rows_are_independent = self._layout()
        self.causal = self._settle()

    def describe(self, name: str) -> Description:
        subject = self.subject
        sequences, constants = self._split_rest()
        inputs = [self._input(port) for port in sequences]
        outputs = self._outputs()
        steps_all = bool(outputs) and outputs[0].get("steps", "all") == "all"
        classifies = bool(outputs) and outputs[0].get("kind") == "probabilities"
        task = self.options.task or ("label" if steps_all else "classify" if classifies else "forecast")
        document = {
            "schema_version": 1,
            "description": f"proposed from {name}; the task, kinds and labels are guesses",
            "task": task,
            "causal": self.causal,
            "inputs": inputs,
            "lengths": subject.lengths,
            "constants": constants,
            "axes": self._axes(),
            "states": self._states(),
            "outputs": outputs,
        }
        return Description(document, self.notes + self.pairing.notes, self.details)

    def _main_input(self) -> Port:
        """The input whose axes are those of the manifest: with most axes that change, then first in order."""
        subject = self.subject
        known = {*self.pairing.pairs, subject.lengths}
        rest = [port for port in subject.ports if port.name not in known] or subject.ports or subject.inputs

        def rank(port: Port) -> tuple[bool, int, int]:
            groups = {group for group in subject.input_groups(port) if group is not None}
            return (not STATE_INPUT.search(port.name), len(groups), len(port.shape))

        return max(rest, key=rank)

    def _layout(self) -> tuple[Layout, bool]:
        state_groups = {
            group
            for port in self.subject.ports
            if port.name in self.pairing.pairs
            for group in self.subject.input_groups(port)
            if group is not None
        }
        wanted = [each for each in all_layouts(len(self.main.shape)) if self._is_wanted(each)]
        limited = self._is_limited()
        return choose_layout(self.subject, self.main, state_groups, wanted if limited and wanted else None)

    def _is_limited(self) -> bool:
        options = self.options
        return any(each is not None for each in (options.time_axis, options.batch_axis, *self._window()))

    def _is_wanted(self, layout: Layout) -> bool:
        time, batch = self.options.time_axis, self.options.batch_axis
        if time is None and any(size is not None for size in self._window()):
            time = NO_AXIS
        fits_time = time is None or layout.time == (None if time == NO_AXIS else time)
        return fits_time and (batch is None or layout.batch == (None if batch == NO_AXIS else batch))

    def _window(self) -> tuple[int | None, int | None, int | None]:
        """Window, hop and carry: given, or what a streaming exporter wrote into the file."""
        options, said = self.options, self.file.metadata
        if options.window is None and options.hop is None and options.carry is None:
            window, hop = said.get("T", ""), said.get("decode_chunk_len", "")
            if window.isdecimal() and hop.isdecimal() and int(window) in self.main.shape:
                return int(window), int(hop), None
        return options.window, options.hop, options.carry

    def _settle(self) -> bool:
        """Whether it may be cut; settles the states that are left."""
        subject, cutter = self.subject, Cutter.of(self.subject, self.main, self.layout)
        can_cut = settle(subject, self.pairing, self.main, cutter)
        if cutter is None or self.pairing.open:
            return True
        if can_cut:
            return bool(self.pairing.pairs) or cutter.has_steps
        if self.pairing.pairs and self._is_window_of_samples():
            self.layout = Layout(self.layout.batch, None)
            return True
        if self.pairing.pairs:
            self.notes.append("cut in pieces it answers something else, so causal is false: no sessions")
        return not self.pairing.pairs and cutter.keeps_prefixes()

    def _is_window_of_samples(self) -> bool:
        """Whether what looked like a time axis of single numbers is a window of a size that is not known."""
        group = None if self.layout.time is None else self.subject.input_groups(self.main)[self.layout.time]
        names = [port.name for port in self.subject.probe.outputs if port.name not in self.pairing.pairs.values()]
        follows = any(group in self.subject.output_groups(name) for name in names)
        time = self.main.shape[self.layout.time or 0]
        named = isinstance(time, str) and bool(TIME_AXIS.search(time))
        return len(self.main.shape) == 2 and self.main.is_float and not follows and not named

    def _split_rest(self) -> tuple[list[Port], dict[str, Any]]:
        """The inputs of a request, the main one first, and the constants."""
        subject = self.subject
        known = {*self.pairing.pairs, *self.pairing.open, subject.lengths, *subject.constants}
        constants: dict[str, Any] = {
            name: self.options.constants.get(name, self._said(name)) for name in subject.constants
        }
        sequences = []
        for port in subject.inputs:
            if port.name in known:
                continue
            if port.name != self.main.name and not self._has_rows(port) and self.layout.batch is not None:
                constants[port.name] = OPEN
            else:
                sequences.append(port)
        return sequences, constants

    def _said(self, name: str) -> Any:
        """The value of a constant that the file's metadata say; "?" if they do not."""
        key = "sample_rate" if name in ("sr", "sample_rate", "sampling_rate") else name
        said = self.file.metadata.get(key, "")
        return int(said) if said.isdecimal() else OPEN

    def _has_rows(self, port: Port) -> bool:
        """Whether an input has the batch axis of the main input, and perhaps its time axis."""
        subject, layout = self.subject, self.layout
        if layout.batch is None:
            return True
        group = subject.input_groups(self.main)[layout.batch]
        size = self.main.sized(subject.sizes.base)[layout.batch]
        if group is not None:
            return group in subject.input_groups(port)
        return size in port.sized(subject.sizes.base)

    def _has_time(self, port: Port) -> bool:
        subject, time = self.subject, self.layout.time
        if time is None or port.name == self.main.name:
            return True
        group = subject.input_groups(self.main)[time]
        if group is not None:
            return group in subject.input_groups(port)
        sizes = port.sized(subject.sizes.base)
        return len(sizes) > time and sizes[time] == self.main.sized(subject.sizes.base)[time]

    def _input(self, port: Port) -> dict[str, Any]:
        subject, layout, rank = self.subject, self.layout, len(port.shape)
        has_time = self._has_time(port)
        if has_time:
            axes = layout
        else:
            behind = layout.batch is not None and layout.time is not None and layout.batch > layout.time
            axes = Layout(layout.batch - 1 if behind and layout.batch else layout.batch, None)
        groups, sizes = subject.input_groups(port), port.sized(subject.sizes.base)
        dims: list[Any] = [OPEN if groups[axis] is not None else sizes[axis] for axis in axes.dims(rank)]
        if self._is_misplaced(port, axes):
            self.details.append(
                f"input {port.name!r} of shape {_shown(port)} has its batch or time axis elsewhere than "
                f"{self.main.name!r} of shape {_shown(self.main)}: transpose it in the graph"
            )
        fields: dict[str, Any] = {"name": port.name, **_kind(subject, port, dims), "dims": dims}
        if not has_time:
            fields["per"] = "sequence"
            self.notes.append(f"{port.name!r} has no time axis: it is given once for each sequence")
        if port.name == self.main.name and dims and isinstance(dims[0], int):
            carry = self._carry(dims[0])
            fields |= {"carry": carry, "dims": [dims[0] - carry, *dims[1:]]} if carry else {}
        return fields

    def _carry(self, size: int) -> int:
        window, hop, carry = self._window()
        if carry is None and hop is not None:
            carry = size - hop
        if carry is not None and not 0 <= carry < size:
            self.details.append(f"the graph takes {size} numbers a step: {window or size} with a hop of {hop} do not fit")
            return 0
        return carry or 0

    def _is_misplaced(self, port: Port, axes: Layout) -> bool:
        subject = self.subject
        ours, theirs = subject.input_groups(self.main), subject.input_groups(port)
        wanted = ((self.layout.batch, axes.batch), (self.layout.time, axes.time))
        return any(
            place is not None
            and source is not None
            and ours[source] is not None
            and (min(place, len(theirs) - 1) < 0 or theirs[min(place, len(theirs) - 1)] != ours[source])
            for source, place in wanted
        )

    def _axes(self) -> dict[str, Any]:
        subject, layout = self.subject, self.layout
        groups, sizes = subject.input_groups(self.main), self.main.sized(subject.sizes.base)
        axes: dict[str, Any] = {"batch": layout.batch, "time": layout.time}
        for key, axis in (("batch_size", layout.batch), ("time_size", layout.time)):
            if axis is not None and groups[axis] is None:
                axes[key] = sizes[axis]
        if layout.batch is not None and not self.rows_are_independent and "batch_size" not in axes:
            axes["batch_size"] = 1
            self.notes.append("rows of a batch change one another's answers: every call will hold one sequence")
        return axes

    def _states(self) -> list[dict[str, Any]]:
        by_name = {port.name: port for port in self.subject.ports}
        outputs = self.pairing.pairs | dict.fromkeys(self.pairing.open, OPEN)
        for name, candidates in self.pairing.open.items():
            self.details.append(f"state {name!r}: its new value may be any of {', '.join(candidates)}")
        return [
            {"input": name, "output": outputs[name], "shape": self._state_shape(port), "dtype": _dtype(port)}
            for name, port in by_name.items()
            if name in outputs
        ]

    def _state_shape(self, port: Port) -> list[Any]:
        subject, batch = self.subject, self.layout.batch
        groups, sizes = subject.input_groups(port), port.sized(subject.sizes.base)
        group = None if batch is None else subject.input_groups(self.main)[batch]
        fixed = 0 if batch is None or group is not None else self.main.sized(subject.sizes.base)[batch]
        shape: list[Any] = [
            "batch" if g is not None and g == group else OPEN if g is not None else size
            for g, size in zip(groups, sizes, strict=True)
        ]
        if fixed > 1 and fixed in shape:
            shape[shape.index(fixed)] = "batch"
        return shape

    def _outputs(self) -> list[dict[str, Any]]:
        candidates = {name for names in self.pairing.open.values() for name in names}
        found = []
        for name in answers(self.subject, self.pairing.pairs, candidates):
            fields, fault = describe_output(self.subject, name, self.main, self.layout)
            fields["dtype"] = _dtype(self.subject.output(name))
            found.append(fields)
            self.details += [fault] if fault else []
        if found and self.options.labels:
            found[0] |= {"labels": list(self.options.labels), "kind": found[0].get("kind", "probabilities")}
        return found


def describe_unmeasured(file: GraphFile, name: str) -> dict[str, Any]:
    """A draft from the file alone, for a graph that does not run."""
    inputs, outputs = ports(file.inputs), ports(file.outputs)
    return {
        "schema_version": 1,
        "description": f"proposed from {name}, which did not run: nothing is measured",
        "task": "label",
        "inputs": [
            {"name": port.name, "dtype": _dtype(port), "dims": [*port.shape[2:]] if _is_fixed(port) else [OPEN]}
            for port in inputs
        ],
        "axes": {"batch": OPEN, "time": OPEN},
        "states": [],
        "outputs": [{"name": port.name, "dtype": _dtype(port), "dims": [OPEN]} for port in outputs],
        "example": OPEN,
    }


def _is_fixed(port: Port) -> bool:
    return len(port.shape) > 2 and not any(port.variables[2:])


def _known_pairs(subject: Subject, options: Options) -> dict[str, str]:
    """The given pairs of names that are there."""
    inputs = {port.name for port in subject.ports}
    outputs = {port.name for port in subject.probe.outputs}
    return {name: output for name, output in options.states.items() if name in inputs and output in outputs}


def _kind(subject: Subject, port: Port, dims: list[Any]) -> dict[str, Any]:
    size = subject.edges.embedding_size(port.name) if port.is_integer else None
    if size is not None:
        return {"kind": "token", "dtype": port.dtype, "size": size}
    return {"kind": "token" if port.dtype in ("int32", "int64") and not dims else "numeric", "dtype": _dtype(port)}


def _dtype(port: Port) -> str:
    return port.dtype if port.dtype in DTYPES else OPEN


def _shown(port: Port) -> str:
    return f"[{', '.join(str(size or '?') for size in port.shape)}]"
