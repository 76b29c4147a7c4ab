"""A model delegates states to its engine, and is exact only if batching changed no bit."""

from typing import cast

import numpy as np
import pytest

from service.engine import Worker
from service.manifest import Manifest, StateSpec
from service.repository.model import Model
from service.sequence import Batch, Result, State
from service.sessions import Binding
from service.state import StateLayout

LAYOUT = StateLayout([StateSpec(input="h", output="h_out", shape=("batch", 2), initial=0.5)])


class StateEngine:
    """Keeps states as a device does, but runs nothing."""

    layout = LAYOUT
    initial_state = LAYOUT.initial()
    provider = "CPUExecutionProvider"
    output_dtype = "float16"
    output_dtypes = ("float16",)

    def __init__(self) -> None:
        self.states: dict[tuple[bytes, bytes], State] = {}

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        return self.states.get((key, revision)) or self.layout.unpack(packed)

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        self.states[key, revision] = state

    def run(self, batch: Batch) -> list[Result]:
        raise NotImplementedError


def model(difference: float = 0.0) -> Model:
    return Model(
        name="m",
        version="1",
        manifest=cast(Manifest, None),
        binding=Binding("m", "1", b"12345678"),
        worker=cast(Worker, None),
        engine=StateEngine(),
        difference=difference,
    )


def test_states_go_to_bytes_and_back() -> None:
    state = (np.array([1.5, -2.0], np.float32),)
    packed = model().pack_state(state)
    assert packed == state[0].tobytes()
    (resumed,) = model().resume(b"key", b"r1", packed)
    assert np.array_equal(resumed, state[0])
    assert model().initial_state[0].tolist() == [0.5, 0.5]


def test_a_kept_state_is_resumed_at_its_revision_only() -> None:
    loaded, state = model(), (np.array([1.0, 2.0], np.float32),)
    loaded.keep(b"key", b"r1", state)
    stored = loaded.pack_state((np.zeros(2, np.float32),))
    assert loaded.resume(b"key", b"r1", stored) is state
    assert loaded.resume(b"key", b"r2", stored)[0].tolist() == [0, 0]


@pytest.mark.parametrize(("difference", "expected"), [(0.0, True), (1e-9, False)])
def test_a_model_is_exact_only_without_any_difference(difference: float, expected: bool) -> None:
    assert model(difference).is_exact is expected


def test_provider_and_dtype_are_those_of_the_engine() -> None:
    assert (model().provider, model().output_dtype) == ("CPUExecutionProvider", "float16")
