"""Describes the inputs of a request, and the constants."""

from typing import Any

from service.repository.probe import Port
from service.repository.proposal import advice
from service.repository.proposal.analysis import Analysis
from service.repository.proposal.axes import Layout
from service.repository.proposal.open_fields import OPEN
from service.repository.proposal.pairing import fitting
from service.repository.proposal.subject import Subject

SAMPLE_RATE = ("sr", "sample_rate", "sampling_rate")  # names of inputs; the metadata key is the second


def describe_inputs(analysis: Analysis) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The fields of each `InputSpec`, and the constants by name."""
    subject = analysis.subject
    pairing = analysis.pairing
    known = {*pairing.pairs, *pairing.open, *pairing.growing, subject.lengths, *subject.constants}
    rest = [port for port in subject.inputs if port.name not in known]
    fixed = [port for port in rest if port.name != analysis.main.name and not _has_rows(analysis, port)]
    constants = {
        name: analysis.options.constants.get(name, _stated(analysis, name))
        for name in [*subject.constants, *(port.name for port in fixed)]
    }
    inputs = [_input(analysis, port) for port in rest if port not in fixed]
    for fields in inputs:
        fields |= _audio(analysis, fields, constants)
    return inputs, constants


def _audio(analysis: Analysis, fields: dict[str, Any], constants: dict[str, Any]) -> dict[str, Any]:
    """The kind of an input of sound: an option says its rate, or the graph takes it as a constant."""
    name = fields["name"]
    if name in analysis.options.audio:
        return {"kind": "audio", "sample_rate": analysis.options.audio[name]}
    rates = [
        rate for key, rate in constants.items() if key in SAMPLE_RATE and isinstance(rate, int) and rate > 0
    ]
    is_sound = name == analysis.main.name and len(fields["dims"]) < 2 and fields["kind"] == "numeric"
    if not rates or not is_sound or not fields["dtype"].startswith("float"):
        return {}
    analysis.notes.append(
        f"{name!r} is taken for sound at {rates[0]} samples a second, as the graph has a rate"
    )
    return {"kind": "audio", "sample_rate": rates[0]}


def _stated(analysis: Analysis, name: str) -> Any:
    """The value of a constant from the file's metadata; "?" if it is not there."""
    value = analysis.file.metadata.get(SAMPLE_RATE[1] if name in SAMPLE_RATE else name, "")
    return int(value) if value.isdecimal() else OPEN


def _has_rows(analysis: Analysis, port: Port) -> bool:
    """Whether an input has the batch axis of the main input."""
    if analysis.layout.batch is None:
        return True
    if analysis.batch_group is not None:
        return analysis.batch_group in analysis.subject.input_groups(port)
    return analysis.batch_size in port.sized(analysis.subject.sizes.base)


def _has_time(analysis: Analysis, port: Port) -> bool:
    """Whether an input has the time axis of the main input, or there is none."""
    subject, time = analysis.subject, analysis.layout.time
    if port.name in analysis.options.per_sequence:
        return False
    if time is None or port.name == analysis.main.name:
        return True
    group = subject.input_groups(analysis.main)[time]
    if group is not None:
        return group in subject.input_groups(port)
    sizes = port.sized(subject.sizes.base)
    return len(sizes) > time and sizes[time] == analysis.time_size


def _input(analysis: Analysis, port: Port) -> dict[str, Any]:
    subject = analysis.subject
    has_time = _has_time(analysis, port)
    axes = analysis.layout if has_time else analysis.inner_layout
    groups, sizes = subject.input_groups(port), port.sized(subject.sizes.base)
    places = axes.dims(len(port.shape))
    dims: list[Any] = [OPEN if groups[axis] is not None else sizes[axis] for axis in places]
    if _is_misplaced(analysis, port, axes):
        analysis.details.append(
            f"input {port.name!r} of shape {_shown(port)} has its batch or time axis elsewhere than "
            f"{analysis.main.name!r} of shape {_shown(analysis.main)}: transpose it in the graph"
        )
    fields: dict[str, Any] = {"name": port.name, **_kind(subject, port, dims), "dims": dims}
    if not has_time:
        fields["per"] = "sequence"
        if port.name not in analysis.options.per_sequence:
            analysis.notes.append(f"{port.name!r} has no time axis: it is given once for each sequence")
    elif analysis.layout.time is None and port.name != analysis.main.name:
        candidates = fitting(subject, analysis.pairing.no_states).get(port.name, [])
        analysis.notes.append(advice.unclear_input(port.name, candidates))
    if port.name == analysis.main.name and dims and isinstance(dims[0], int):
        carry = _carry(analysis, dims[0])
        fields |= {"carry": carry, "dims": [dims[0] - carry, *dims[1:]]} if carry else {}
    return fields


def _carry(analysis: Analysis, size: int) -> int:
    """How many of the `size` numbers of a call are those of the steps before."""
    _, hop, carry = analysis.window
    if carry is None and hop is not None:
        carry = size - hop
    if carry is not None and not 0 <= carry < size:
        analysis.details.append(
            f"the graph takes {size} numbers along the first dim of a step: hop {hop} and carry "
            f"{carry} do not fit"
        )
        return 0
    return carry or 0


def _is_misplaced(analysis: Analysis, port: Port, axes: Layout) -> bool:
    """Whether its batch or time axis is at another place than a manifest can say."""
    ours, theirs = analysis.subject.input_groups(analysis.main), analysis.subject.input_groups(port)
    wanted = ((analysis.layout.batch, axes.batch), (analysis.layout.time, axes.time))
    for source, place in wanted:
        if source is None or place is None or ours[source] is None:
            continue
        place = min(place, len(theirs) - 1)
        if place < 0 or theirs[place] != ours[source]:
            return True
    return False


def _kind(subject: Subject, port: Port, dims: list[Any]) -> dict[str, Any]:
    size = subject.edges.embedding_size(port.name) if port.is_integer else None
    if size is not None:
        return {"kind": "token", "dtype": port.dtype, "size": size}
    is_id = port.dtype in ("int32", "int64") and not dims
    return {"kind": "token" if is_id else "numeric", "dtype": port.dtype}


def _shown(port: Port) -> str:
    return f"[{', '.join(str(size or '?') for size in port.shape)}]"
