"""Exponential gates: at most 1, and exact, whatever the stabiliser was before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.cells.exponential import open_gates, start_open

number = st.floats(-200, 200)


@given(number, number, number)
def test_the_stabiliser_cancels_and_bounds_the_gates(
    before_in: float, before_forget: float, m: float
) -> None:
    arguments = (torch.tensor([each], dtype=torch.float64) for each in (before_in, before_forget, m))
    in_gate, forget_gate, after = (float(each) for each in open_gates(*arguments))
    assert 0 <= in_gate <= 1
    assert 0 <= forget_gate <= 1 + 1e-12  # rounding
    assert max(in_gate, forget_gate) > 0.97, "one of both decides the scale"
    log_forget = -np.logaddexp(0, -before_forget)
    assert in_gate == pytest.approx(np.exp(before_in - after), rel=1e-9)
    assert forget_gate == pytest.approx(np.exp(log_forget + m - after), rel=1e-9)


def test_forget_gates_start_open() -> None:
    bias = torch.nn.Parameter(torch.zeros(5))
    start_open(bias)
    assert bias.tolist() == [3, 3.75, 4.5, 5.25, 6]
    one = torch.nn.Parameter(torch.zeros(1))
    start_open(one)
    assert one.tolist() == [3]
