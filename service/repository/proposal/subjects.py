"""Opens a graph for inspection: finds its constants and lengths, and sizes with which it runs."""

import dataclasses

import numpy as np

from service.repository.compare import is_quantized
from service.repository.graph import Size
from service.repository.graph_file import GraphFile
from service.repository.probe import Port, Probe
from service.repository.proposal.edges import Edges
from service.repository.proposal.names import LENGTHS, STATE_INPUT, match_by_name
from service.repository.proposal.options import Options
from service.repository.proposal.subject import Subject
from service.sequence import Array


def open_subject(probe: Probe, file: GraphFile, options: Options) -> Subject:
    """The graph, with the sizes and values that `options` give."""
    edges = Edges(file)
    inputs = _with_sizes(probe.inputs, options)
    scalars = [port for port in inputs if _is_scalar(port, probe, options)]
    if not _others(inputs, scalars, probe, edges, options):  # a step is one number, and there is no batch
        scalars = scalars[1:]
    constants = {
        port.name: _constant(port, options.constants.get(port.name))
        for port in inputs
        if port.name in options.constants or port in scalars
    }
    rest = [port for port in inputs if port.name not in constants]
    lengths = _lengths(rest, edges, options)
    subject = Subject(probe, edges, constants, lengths, inputs, is_quantized(file.graph))
    unset = [name for name in constants if name not in options.constants]
    subject.sizes_found = subject.find_sizes(unset)
    return subject


def _with_sizes(inputs: list[Port], options: Options) -> list[Port]:
    """The inputs with the sizes that `options` give, also where other inputs have an axis of that name."""
    given: dict[str, tuple[Size, ...]] = dict(options.dims)
    if options.window is not None and not given:
        free = [port for port in inputs if _is_free(port, options)]
        given = {port.name: (options.window, *port.shape[2:]) for port in free[:1]}
    sized = [_resized(port, given.get(port.name, ())) for port in inputs]
    named: dict[Size, Size] = {}
    for before, after in zip(inputs, sized, strict=True):
        pairs = zip(before.shape, after.shape, strict=True)
        named |= {name: size for name, size in pairs if isinstance(name, str) and name and name != size}
    return [
        dataclasses.replace(port, shape=tuple(named.get(size, size) for size in port.shape)) for port in sized
    ]


def _is_free(port: Port, options: Options) -> bool:
    """Whether a window can be its axis after the batch: [batch, samples] or [batch, frames, features]."""
    is_state = port.name in options.states or (len(port.shape) > 2 and STATE_INPUT.search(port.name))
    return port.is_float and len(port.shape) > 1 and bool(port.variable(1)) and not is_state


def _resized(port: Port, dims: tuple[Size, ...]) -> Port:
    kept = len(port.shape) - len(dims)
    return dataclasses.replace(port, shape=(*port.shape[:kept], *dims)) if dims and kept >= 0 else port


def _is_scalar(port: Port, probe: Probe, options: Options) -> bool:
    """Whether an input of one number is a constant: no output looks like its new value."""
    if port.shape or port.name in options.states:
        return False
    scalars = [output.name for output in probe.outputs if output.dtype == port.dtype and not output.shape]
    return not match_by_name({port.name: scalars})


def _others(
    inputs: list[Port], scalars: list[Port], probe: Probe, edges: Edges, options: Options
) -> list[Port]:
    """The inputs that are neither scalars nor, as far as edges and names say, states."""
    states = {each.input for each in edges.recurrences() if each.has_cell} | options.states.keys()
    states |= match_by_name(
        {
            port.name: [
                each.name for each in probe.outputs if (each.dtype, each.shape) == (port.dtype, port.shape)
            ]
            for port in inputs
            if port.shape
        }
    ).keys()
    return [
        port
        for port in inputs
        if port not in scalars
        and port.name not in states | options.constants.keys()
        and not STATE_INPUT.search(port.name)
    ]


def _constant(port: Port, value: object) -> Array:
    dtype = port.dtype if port.dtype == "bool" or port.is_float or port.is_integer else "float32"
    return np.asarray(0 if value is None else value, dtype)


def _lengths(inputs: list[Port], edges: Edges, options: Options) -> str | None:
    """The input that takes the lengths of rows: read as such by an operator, or named so."""
    possible = [
        port
        for port in inputs
        if port.is_integer and len(port.shape) == 1 and port.name not in options.states
    ]
    read = [port.name for port in possible if port.name in edges.lengths]
    named = [port.name for port in possible if LENGTHS.search(port.name)]
    return next(iter(read or named), None)
