"""A difference of rounding is kept; a larger one, or a failure, is a refusal that names the folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import StartupError
from service.manifest import Manifest
from service.repository.compare import Difference
from service.repository.findings import Findings
from service.repository.rows import Bench, Row
from tests.service.fakes import SumEngine

FOLDER = Path("models/sum/1")


def findings(**fields: Any) -> Findings:
    defaults: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1]}],
        "outputs": [{"name": "y", "dims": [1]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1], "dtype": "float64"}],
    }
    described = Manifest.model_validate(defaults | fields)
    return Findings(described, Bench(described, SumEngine()), FOLDER, rounding=1e-4)


ROW = Row((np.ones((3, 1)),), (np.zeros(1),))


def test_the_largest_difference_of_rounding_is_kept() -> None:
    found = findings()
    for absolute in (1e-6, 3e-6, 2e-6):
        found.accept(Difference(absolute, 1e-5, "output 'y'"), [ROW], "it differs", "why?")
    assert found.difference.absolute == 3e-6


def test_a_larger_difference_is_refused_with_what_differs() -> None:
    with pytest.raises(StartupError) as refused:
        findings().accept(Difference(0.354, 0.1, "output 'y'"), [ROW], "it differs", "why?")
    assert refused.value.detail == "models/sum/1: it differs by 0.354 (output 'y'): why?"


def test_the_hint_names_the_batch_axis() -> None:
    hint = findings().batch_hint
    assert hint == 'is axis 0 the batch? If rows may change one another, set "batch_size" to 1'
    assert findings().steps_hint == "is axis 0 the batch, or the time?"
    assert findings(axes={"batch": None, "time": 0}).batch_hint == "is there a batch axis?"


def test_a_failure_is_refused_with_a_hint() -> None:
    for hint, expected in (("", "boom"), ("why?", "boom; why?")):
        with (
            pytest.raises(StartupError, match=f"models/sum/1: the graph fails at once: {expected}"),
            findings().running("at once", hint),
        ):
            raise RuntimeError("boom")


def test_a_state_without_batch_axis_needs_a_batch_of_one() -> None:
    states = [{"input": "h", "output": "h_out", "shape": [1]}]
    findings(states=states, axes={"time": None, "batch_size": 1}).check_batch_axis()
    findings(states=states, axes={"time": None, "batch": None}).check_batch_axis()
    findings(axes={"time": None}).check_batch_axis()
    with pytest.raises(StartupError, match='set "batch_size" to 1'):
        findings(states=states, axes={"time": None}).check_batch_axis()
