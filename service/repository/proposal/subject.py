"""The graph under inspection: its inputs and outputs, what its edges say, and runs of it on random values.

It measures shapes and influences. What they mean for a manifest is decided by its neighbours in this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from service.repository.probe import Port, Probe, ProbeError
from service.repository.proposal.edges import Edges
from service.repository.proposal.sizes import Assignment, Sizes, find_sizes
from service.sequence import Array

SPREAD = 0.5  # standard deviation of invented floats
MAX_ID = 2  # of invented integers, where no table of embeddings says more: 0 and 1
PLACEHOLDERS: tuple[int, ...] = (1, 0, 16000)  # for constants that are not given
SAME = {"float16": 3e-2}  # of the largest number: what rounding changes, also inside a float64 graph
SAME_OTHERS = 1e-4
SAME_QUANTIZED = 0.2  # activations are rounded to 8 bits of the largest number in the call


@dataclass(slots=True, frozen=True)
class Growth:
    """How a state grows."""

    axis: int
    entries: int  # at most


@dataclass
class Subject:
    """A graph that is being inspected."""

    probe: Probe
    edges: Edges
    constants: dict[str, Array]  # inputs of one value, given or a placeholder
    lengths: str | None  # the input that takes the lengths of rows
    inputs: list[Port]  # with the sizes that were given
    is_quantized: bool = False  # it rounds activations to 8 bits while it runs
    sizes: Sizes = field(default_factory=lambda: Sizes({}))
    sizes_found: bool = False
    fault: str = ""  # why it does not run at all
    growth: dict[str, Growth] = field(default_factory=dict)  # by state that is empty at step 0

    @property
    def ports(self) -> list[Port]:
        """The inputs of which the values are invented."""
        return [port for port in self.inputs if port.name not in self.constants]

    def find_sizes(self, unset: list[str]) -> bool:
        """Find sizes, and placeholders of `unset` constants, with which it runs. False: none were found."""
        faults: set[str] = set()

        def runs(sizes: Assignment) -> bool:
            try:
                self.run(self.feeds(sizes))
            except ProbeError as error:
                faults.add(str(error))
                return False
            return True

        for value in PLACEHOLDERS if unset else PLACEHOLDERS[:1]:
            self.constants |= {name: _placeholder(self.constants[name], value) for name in unset}
            found = find_sizes(self.ports, self.edges.weight_sizes, runs)
            if found is not None:
                self.sizes = found
                return True
        # A finding for every size alike is about the graph, not about a size that was tried.
        self.fault = next(iter(faults)) if len(faults) == 1 else ""
        return False

    def feeds(self, sizes: Assignment | None = None, *, seed: int = 0, lengths: int = 1) -> dict[str, Array]:
        """Invented values for every input; `lengths` is the length of every row."""
        sizes = self.sizes.base if sizes is None else sizes
        rng = np.random.default_rng(seed)
        feeds = dict(self.constants)
        for port in self.ports:
            shape = port.sized(sizes)
            if port.name == self.lengths:
                feeds[port.name] = np.full(shape, lengths, port.dtype)
            else:
                feeds[port.name] = self.draw(port, shape, rng)
        for name, growth in self.growth.items():
            most = min(growth.entries, feeds[name].shape[growth.axis])
            feeds[name] = feeds[name].take(range(most), growth.axis)
        return feeds

    def draw(self, port: Port, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Invented values for one input."""
        if port.dtype == "bool":
            return np.asarray(rng.random(shape) < 0.7)
        if port.is_integer:
            size = self.edges.embedding_size(port.name) or MAX_ID
            return np.asarray(rng.integers(0, size, shape), port.dtype)
        return np.asarray(rng.normal(size=shape) * SPREAD).astype(port.dtype if port.is_float else "float32")

    def is_same(self, a: Array, b: Array) -> bool:
        """Whether two of its answers are equal but for rounding."""
        return is_same(a, b, is_quantized=self.is_quantized)

    @cached_property
    def echoes(self) -> list[str]:
        """The outputs that are the lengths of rows again."""
        given = next((port for port in self.ports if port.name == self.lengths), None)
        if given is None:
            return []
        found = [port.name for port in self.probe.outputs if port.dtype == given.dtype]
        for lengths in (1, 2):
            feeds = self.feeds(lengths=lengths)
            try:
                outputs = self.run(feeds)
            except ProbeError:
                continue
            found = [name for name in found if np.array_equal(outputs[name], feeds[given.name])]
        return found

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output. Raises ProbeError."""
        return self.probe.run(feeds)

    @cached_property
    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """The outputs' shapes with the base sizes, and then with each group grown."""
        assignments = [self.sizes.base, *map(self.sizes.grown, range(len(self.sizes.groups)))]
        return [{name: y.shape for name, y in self.run(self.feeds(sizes)).items()} for sizes in assignments]

    def input_groups(self, port: Port) -> tuple[int | None, ...]:
        """The group of each axis of an input; None: its size is fixed."""
        return tuple(map(self.sizes.group, port.variables))

    def output_groups(self, name: str) -> tuple[int | None, ...]:
        """The group that each axis of an output follows; None: its size is fixed."""
        base = self.shapes[0][name]
        groups: list[int | None] = [None] * len(base)
        for number, shapes in enumerate(self.shapes[1:]):
            for axis, size in enumerate(shapes[name][: len(base)]):
                if size != base[axis]:
                    groups[axis] = number
        return tuple(groups)

    def signature(self, port: Port) -> list[tuple[int, ...]]:
        """The shapes of an input in the same runs as `shapes`."""
        assignments = [self.sizes.base, *map(self.sizes.grown, range(len(self.sizes.groups)))]
        return [port.sized(sizes) for sizes in assignments]

    def output(self, name: str) -> Port:
        """An output, with the shape that it had with the base sizes."""
        port = next(port for port in self.probe.outputs if port.name == name)
        return Port(name, port.dtype, tuple(self.shapes[0][name]))


def _placeholder(constant: Array, value: int) -> Array:
    """An array like `constant`, of a value that its dtype may not hold."""
    return np.full(constant.shape, value).astype(constant.dtype)


def is_same(a: Array, b: Array, *, is_quantized: bool = False) -> bool:
    """Whether two tensors are equal but for rounding. NaN equals nothing."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    x, y = a.astype(np.float64), b.astype(np.float64)
    scale = max(float(np.abs(y).max(initial=0.0)), 1e-9)
    share = SAME_QUANTIZED if is_quantized else SAME.get(a.dtype.name, SAME_OTHERS)
    return bool(np.abs(x - y).max(initial=0.0) <= share * scale)
