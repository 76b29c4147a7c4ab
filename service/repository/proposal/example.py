"""Makes the example of a manifest: steps, invented or given, and what bare ONNX Runtime answers to them."""

from typing import Any

import numpy as np

from service.manifest import Example, InputSpec, Manifest
from service.repository.probe import Probe, ProbeError
from service.repository.proposal.reference import answer, read_steps
from service.sequence import Array

STEPS = 5
DECIMALS = 3  # of invented numbers


def with_example(probe: Probe, manifest: Manifest, steps: Any = None) -> Manifest:
    """The manifest with an example. `steps`: as in a request; None: invented.

    Raises ValueError if the steps do not fit the inputs, ProbeError if the graph does not run on them.
    """
    given = invent(manifest) if steps is None else steps
    try:
        output = answer(probe, manifest, read_steps(manifest, given))
    except TypeError as error:
        raise ValueError(str(error)) from error
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise ProbeError("the answer to the example is NaN or infinite")
    example = Example(steps=given, output=output.tolist(), tolerance=_tolerance(output))
    return manifest.model_copy(update={"example": example})


def invent(manifest: Manifest) -> Any:
    """`steps` of small random numbers."""
    rng = np.random.default_rng(0)
    steps = manifest.exact_steps or manifest.step_multiple
    if steps == 1:
        steps = STEPS
    values = {spec.name: _draw(spec, steps, rng).tolist() for spec in manifest.inputs}
    return values if len(values) > 1 else next(iter(values.values()))


def _tolerance(output: Array) -> float:
    """The largest difference that rounding explains: the server runs the graph with optimizations."""
    largest = float(np.abs(output.astype(np.float64)).max(initial=0.0))
    return max(1e-4, largest * (2e-2 if output.dtype == np.float16 else 1e-5))


def _draw(spec: InputSpec, steps: int, rng: np.random.Generator) -> Array:
    shape = spec.dims if spec.per == "sequence" else (steps, *spec.dims)
    if spec.dtype == "bool":
        return rng.random(shape) < 0.7
    if spec.takes_integers:
        return np.asarray(rng.integers(0, spec.num_ids or 2, shape))
    return np.asarray(np.round(rng.normal(size=shape) * 0.5, DECIMALS))
