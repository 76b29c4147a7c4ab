"""Fixed sizes that the graph states and the manifest leaves out."""

import pytest

from service.manifest import Axes, InputSpec, Manifest, OutputSpec
from service.repository.graph import Value
from service.repository.sizes import with_fixed_sizes


def manifest(**axes: int | None) -> Manifest:
    return Manifest(
        task="label",
        inputs=(InputSpec(name="x", dims=(3,)),),
        outputs=(OutputSpec(name="y", dims=(2,)),),
        axes=Axes.model_validate(axes),
    )


@pytest.mark.parametrize(
    ("shape", "time_size", "batch_size"),
    [
        (("batch", "time", 3), None, None),
        (("batch", 7, 3), 7, None),
        ((2, 7, 3), 7, 2),
        ((1, None, 3), None, 1),
        ((7, 3), None, None),  # another rank: the load refuses it
    ],
)
def test_sizes_are_those_of_the_graph(
    shape: tuple[int | str | None, ...], time_size: int | None, batch_size: int | None
) -> None:
    axes = with_fixed_sizes(manifest(), (Value("x", "float32", shape),)).axes
    assert (axes.time_size, axes.batch_size) == (time_size, batch_size)


def test_axes_in_another_order() -> None:
    axes = with_fixed_sizes(manifest(batch=1, time=0), (Value("x", "float32", (4, "rows", 3)),)).axes
    assert (axes.time_size, axes.batch_size) == (4, None)


def test_what_the_manifest_states_stays() -> None:
    stated = manifest(batch=0, time=1, time_size=5)
    assert with_fixed_sizes(stated, (Value("x", "float32", ("batch", 7, 3)),)) is stated


def test_what_follows_from_the_axes_follows_from_the_new_ones() -> None:
    """A manifest caches what it is asked for; a copy would have kept that."""
    old = manifest(batch=0, time=1)
    assert old.exact_steps is None and not old.has_independent_steps
    new = with_fixed_sizes(old, (Value("x", "float32", ("batch", 7, 3)),))
    assert new.exact_steps == 7 and "dtype" not in new.outputs[0].model_fields_set
    assert with_fixed_sizes(old, (Value("x", "float32", ("batch", 1, 3)),)).has_independent_steps
