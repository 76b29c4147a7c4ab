"""Makes the example of a manifest: steps, invented or given, and what bare ONNX Runtime answers to them."""

from typing import Any

import numpy as np

from service.manifest import Example, InputSpec, Manifest
from service.repository.probe import Probe, ProbeError
from service.repository.proposal.reference import answer, read_steps
from service.sequence import Array

STEPS = 5
MOST = 20  # of invented integers
DECIMALS = 3  # of invented numbers


def with_example(probe: Probe, manifest: Manifest, steps: Any = None) -> Manifest:
    """The manifest with an example. `steps`: as in a request; None: invented.

    Raises ValueError if the steps do not fit the inputs, ProbeError if the graph does not run on them.
    """
    tried = (invent(manifest), invent(manifest, most=1)) if steps is None else (steps,)
    given, output = _first_answer(probe, manifest, tried)
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise ProbeError("the answer to the example is NaN or infinite")
    example = Example(steps=given, output=output.tolist(), tolerance=_tolerance(output))
    return manifest.model_copy(update={"example": example})


def _first_answer(probe: Probe, manifest: Manifest, tried: tuple[Any, ...]) -> tuple[Any, Array]:
    """The first steps that the graph answers, and the answer. Raises as `with_example`."""
    for steps in tried:
        try:
            return steps, answer(probe, manifest, read_steps(manifest, steps))
        except TypeError as error:
            raise ValueError(str(error)) from error
        except ProbeError:
            if steps is tried[-1]:
                raise
    raise ProbeError("there are no steps")


def invent(manifest: Manifest, *, most: int = MOST) -> Any:
    """`steps` of small random numbers; `most`: of integers that select nothing from a table."""
    rng = np.random.default_rng(0)
    steps = manifest.exact_steps or manifest.step_multiple
    if steps == 1:
        steps = STEPS
    values = {spec.name: _draw(spec, steps, rng, most).tolist() for spec in manifest.inputs}
    return values if len(values) > 1 else next(iter(values.values()))


def _tolerance(output: Array) -> float:
    """The largest difference that rounding explains: the server runs the graph with optimizations."""
    largest = float(np.abs(output.astype(np.float64)).max(initial=0.0))
    return max(1e-4, largest * (2e-2 if output.dtype == np.float16 else 1e-5))


def _draw(spec: InputSpec, steps: int, rng: np.random.Generator, most: int) -> Array:
    shape = spec.dims if spec.per == "sequence" else (steps, *spec.dims)
    if spec.dtype == "bool":
        return rng.random(shape) < 0.7
    if spec.takes_integers and spec.kind != "token":
        return np.asarray(rng.integers(0 if spec.dtype == "uint8" else -most, most + 1, shape))
    if spec.takes_integers:
        return np.asarray(rng.integers(0, spec.num_ids or 2, shape))
    return np.asarray(np.round(rng.normal(size=shape) * 0.5, DECIMALS))
