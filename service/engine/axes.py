"""The order of the axes of a graph's tensors, and the way there from [batch, time, *dims] and back.

It knows arrays and the manifest's axes; it knows nothing of sequences or ONNX Runtime.
"""

from service.manifest import Axes, InputSpec, Manifest, OutputSpec
from service.sequence import Array

BATCH, TIME = "batch", "time"


class Order:
    """Where a graph's tensor has its batch and time axes; its other axes are the dims, in their order.

    A position beyond the tensor's last axis is that of the last: with `Axes(batch=0, time=2)`, an input with
    one dim is [batch, dim, time], and one without dims [batch, time].
    """

    def __init__(self, batch: int | None, time: int | None, num_dims: int) -> None:
        dims = [str(number) for number in range(num_dims)]
        placed = sorted((at, label) for at, label in ((batch, BATCH), (time, TIME)) if at is not None)
        self.labels = list(dims)  # of the graph's axes: "batch", "time", or the number of a dim
        for position, label in placed:
            self.labels.insert(position, label)
        self.rank = len(self.labels)
        self.has_batch, self.has_time = batch is not None, time is not None
        plain = [label for label in (BATCH, TIME) if label in self.labels] + dims
        to_graph = tuple(plain.index(label) for label in self.labels)
        from_graph = tuple(self.labels.index(label) for label in plain)
        # None: the axes are in the plain order already, as in nearly all graphs.
        self._to_graph = None if self.labels == plain else to_graph
        self._from_graph = None if self.labels == plain else from_graph

    @property
    def is_plain(self) -> bool:
        """Whether the graph's own order is [batch, time, *dims]."""
        return self.has_batch and self.has_time and self._to_graph is None

    def to_graph(self, x: Array) -> Array:
        """[batch, time, *dims] → the graph's own order. An axis that the graph has not has length 1."""
        if not self.has_time:
            x = x[:, 0]
        if not self.has_batch:
            x = x[0, ...]  # an array also where nothing is left of its shape
        if self._to_graph is None:
            return x
        ordered: Array = x.transpose(self._to_graph).copy(order="C")
        return ordered

    def from_graph(self, y: Array) -> Array:
        """The graph's own order → [batch, time, *dims]. `y` has `rank` axes."""
        if self._from_graph is not None:
            y = y.transpose(self._from_graph)
        if not self.has_batch:
            y = y[None]
        return y if self.has_time else y[:, None]

    def describe(self, dims: tuple[int, ...], batch: int | None = None, time: int | None = None) -> list[str]:
        """The tensor's shape in words, e.g. ["batch", "time", "12"]. `batch`, `time`: fixed sizes."""
        words = {BATCH: str(batch or BATCH), TIME: str(time or TIME)}
        return [words.get(label) or str(dims[int(label)]) for label in self.labels]


def input_order(spec: InputSpec, axes: Axes) -> Order:
    """The order of a graph input."""
    if spec.per == "sequence":
        return _without_time(axes, len(spec.dims))
    return Order(axes.batch, axes.time, len(spec.dims))


def output_order(spec: OutputSpec, axes: Axes) -> Order:
    """The order of a graph output. One that keeps only the last step has no time axis, unless it says so."""
    if spec.axes is not None:
        return Order(spec.axes.batch, spec.axes.time, len(spec.dims))
    if spec.steps == "last":
        return _without_time(axes, len(spec.dims))
    return Order(axes.batch, axes.time, len(spec.dims))


def _without_time(axes: Axes, num_dims: int) -> Order:
    """Without the time axis, the axes behind it move up."""
    if axes.batch is None or axes.time is None or axes.batch < axes.time:
        return Order(axes.batch, None, num_dims)
    return Order(axes.batch - 1, None, num_dims)


def takes_one_step(manifest: Manifest) -> bool:
    """Whether a call takes one time step of each sequence."""
    return manifest.axes.time is None or manifest.axes.time_size == 1


def takes_steps_as_rows(manifest: Manifest) -> bool:
    """Whether time steps go through the batch axis, any number in a call: no step depends on another."""
    is_dynamic = manifest.axes.batch is not None and manifest.axes.batch_size is None
    return manifest.has_independent_steps and is_dynamic
