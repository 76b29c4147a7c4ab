"""Puts a manifest's document together from what was measured; what is not known is written "?"."""

from typing import Any

from service.repository.graph_file import GraphFile
from service.repository.probe import SERVED, Port, ports
from service.repository.proposal.analysis import Analysis
from service.repository.proposal.edges import Edges
from service.repository.proposal.inputs import describe_inputs
from service.repository.proposal.open_fields import OPEN
from service.repository.proposal.outputs import answers
from service.repository.proposal.outputs import describe as describe_output


def describe(analysis: Analysis, name: str) -> dict[str, Any]:
    """The document without an example. Adds to the analysis' notes and details."""
    inputs, constants = describe_inputs(analysis)
    outputs = _outputs(analysis)
    return {
        "schema_version": 1,
        "description": f"proposed from {name}; the task, kinds and labels are guesses",
        "task": analysis.options.task or _task(outputs),
        "causal": analysis.causal,
        "inputs": inputs,
        "lengths": analysis.subject.lengths,
        "constants": constants,
        "axes": _axes(analysis),
        "states": _states(analysis),
        "outputs": outputs,
    }


def describe_unmeasured(file: GraphFile, name: str) -> dict[str, Any]:
    """A draft from the file alone, for a graph that does not run."""
    inputs, outputs = ports(file.inputs), ports(file.outputs)
    pairs = {each.input: each.outputs[0] for each in Edges(file).recurrences() if each.has_cell}
    if len(pairs) == len(inputs):  # a loop over the whole input
        pairs = {}
    return {
        "schema_version": 1,
        "description": f"proposed from {name}, which did not run: nothing is measured",
        "task": "label",
        "inputs": [
            {"name": port.name, "dtype": _dtype(port), "dims": _last_sizes(port)}
            for port in inputs
            if port.name not in pairs
        ],
        "axes": {"batch": OPEN, "time": OPEN},
        "states": [
            {
                "input": port.name,
                "output": pairs[port.name],
                "shape": _likely_shape(port),
                "dtype": _dtype(port),
            }
            for port in inputs
            if port.name in pairs
        ],
        "outputs": [
            {"name": port.name, "dtype": _dtype(port), "dims": _last_sizes(port)}
            for port in outputs
            if port.name not in pairs.values()
        ],
        "example": OPEN,
    }


def _task(outputs: list[dict[str, Any]]) -> str:
    if not outputs or outputs[0].get("steps", "all") == "all":
        return "label"
    return "classify" if outputs[0].get("kind") == "probabilities" else "forecast"


def _axes(analysis: Analysis) -> dict[str, Any]:
    axes: dict[str, Any] = {"batch": analysis.layout.batch, "time": analysis.layout.time}
    if analysis.batch_size is not None:
        axes["batch_size"] = analysis.batch_size
    elif analysis.layout.batch is not None and not analysis.rows_are_independent:
        axes["batch_size"] = 1
        analysis.notes.append(
            "rows of a batch change one another's answers: every call will hold one sequence"
        )
    if analysis.time_size is not None:
        axes["time_size"] = analysis.time_size
    return axes


def _states(analysis: Analysis) -> list[dict[str, Any]]:
    pairing = analysis.pairing
    outputs = pairing.pairs | dict.fromkeys(pairing.open, OPEN) | pairing.growing
    for name, candidates in pairing.open.items():
        analysis.details.append(
            f"{name!r} looks like a state, and its new value may be any of {', '.join(candidates)}: the "
            "order in which the module returns them decides. Settle it with "
            f"--state {name}=OUTPUT, or --no-state {name}"
        )
    return [
        {
            "input": port.name,
            "output": outputs[port.name],
            "shape": _state_shape(analysis, port),
            "dtype": port.dtype,
            **_grows(analysis, port),
        }
        for port in analysis.subject.ports
        if port.name in outputs
    ]


def _grows(analysis: Analysis, port: Port) -> dict[str, int]:
    growth = analysis.subject.growth.get(port.name)
    return {} if growth is None else {"grows": growth.axis}


def _state_shape(analysis: Analysis, port: Port) -> list[Any]:
    """The sizes, with "batch" for that of the batch; a size that changes otherwise is open."""
    groups, sizes = analysis.subject.input_groups(port), port.sized(analysis.subject.sizes.base)
    shape: list[Any] = [
        size if group is None else "batch" if group == analysis.batch_group else OPEN
        for group, size in zip(groups, sizes, strict=True)
    ]
    after = analysis.subject.shapes[0].get(analysis.pairing.growing.get(port.name, ""), sizes)
    shape = [size if n == m else OPEN for size, n, m in zip(shape, sizes, after, strict=True)]
    if growth := analysis.subject.growth.get(port.name):
        shape[growth.axis] = growth.entries
    fixed = analysis.batch_size
    if fixed is not None and fixed > 1 and fixed in shape:
        shape[shape.index(fixed)] = "batch"
    return shape


def _outputs(analysis: Analysis) -> list[dict[str, Any]]:
    found = []
    for name in answers(analysis.subject, analysis.pairing, analysis.options.answers):
        fields, fault = describe_output(analysis.subject, name, analysis.main, analysis.layout)
        found.append(fields)
        analysis.details += [fault] if fault else []
    if found and analysis.options.labels:
        found[0] |= {"labels": list(analysis.options.labels), "kind": found[0].get("kind", "probabilities")}
    if found and analysis.options.task == "multilabel":
        found[0] |= {"labels": found[0].get("labels", OPEN), "kind": "labels"}
    return found


def _last_sizes(port: Port) -> list[Any]:
    """What are the dims if the first two axes are batch and time."""
    return _sizes(port)[2:]


def _likely_shape(port: Port) -> list[Any]:
    """Of a state: the only size that the file does not fix is that of the batch."""
    sizes = _sizes(port)
    return ["batch" if size == OPEN else size for size in sizes] if sizes.count(OPEN) == 1 else sizes


def _sizes(port: Port) -> list[Any]:
    variables = zip(port.shape, port.variables, strict=True)
    return [OPEN if variable else size for size, variable in variables]


def _dtype(port: Port) -> str:
    return port.dtype if port.dtype in SERVED else OPEN
