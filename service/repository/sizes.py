"""Fixed sizes that a manifest leaves out: the graph itself states them.

A graph that fixes its time or batch axis takes no other size, so there is nothing to choose.
"""

from service.engine.axes import input_order
from service.manifest import Manifest
from service.repository.graph import Value


def with_fixed_sizes(manifest: Manifest, inputs: tuple[Value, ...]) -> Manifest:
    """The manifest, with `axes.time_size` and `axes.batch_size` as the graph's inputs fix them.

    Sizes that the manifest states stay; where they differ from the graph's, the load refuses them.
    """
    axes, shapes = manifest.axes, {value.name: value.shape for value in inputs}
    fixed: dict[str, int] = {}
    for spec in manifest.step_inputs:
        order, shape = input_order(spec, axes), shapes.get(spec.graph_input) or ()
        if len(shape) == order.rank:
            for label, size in zip(order.labels, shape, strict=True):
                if isinstance(size, int) and getattr(axes, f"{label}_size", size) is None:
                    fixed[f"{label}_size"] = size
    if not fixed:
        return manifest
    # Not a copy: that would keep what has been cached of the old axes.
    fields = manifest.model_dump(exclude_unset=True)
    return Manifest.model_validate(fields | {"axes": axes.model_dump() | fixed})
