"""Recurrences over all steps at once equal the loop, and so do their gradients."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.cells.elementwise import (
    Parts,
    at_length,
    delayed,
    elementwise_scan,
    linear_scan,
    one_by_one,
    prefix,
)

BATCH, WIDTH = 2, 3
Step = Callable[[Parts, Tensor], Tensor]


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def linear(parts: Parts, h: Tensor) -> Tensor:
    return parts[0] * h + parts[1]


def loop(step: Step, parts: Parts, start: Tensor) -> Tensor:
    """Step by step, with autograd's graph."""
    states = [start]
    for time in range(parts[0].shape[1]):
        states.append(step(tuple(part[:, time] for part in parts), states[-1]))
    return torch.stack(states[1:], dim=1)


def gradients(h: Tensor, of: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of a sum with other weights for each step, so that each step's gradient counts."""
    return torch.autograd.grad((h * normal(*h.shape, seed=9)).sum(), of)


@given(st.integers(1, 40), st.integers(0, 99))
def test_a_linear_recurrence_is_that_of_the_loop(steps: int, seed: int) -> None:
    add, start = normal(BATCH, steps, WIDTH, seed=seed), normal(BATCH, WIDTH, seed=seed + 1)
    keep = normal(BATCH, steps, WIDTH, seed=seed + 2).sigmoid()
    keep[:, steps // 2] = float(seed % 2)  # a gate that is closed, or open
    arguments = tuple(value.requires_grad_() for value in (keep, add, start))
    ours, expected = linear_scan(keep, add, start), loop(linear, (keep, add), start)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        gradients(ours, arguments), gradients(expected, arguments), rtol=1e-12, atol=1e-13
    )


@given(st.integers(1, 40), st.integers(0, 99))
def test_an_elementwise_recurrence_has_the_gradients_of_the_loop(steps: int, seed: int) -> None:
    part, start = normal(BATCH, steps, WIDTH, seed=seed), normal(BATCH, WIDTH, seed=seed + 1)
    own = normal(WIDTH, seed=seed + 2)
    arguments = tuple(value.requires_grad_() for value in (part, start, own))

    def step(parts: Parts, h: Tensor) -> Tensor:
        return (parts[0] + own * h).tanh() + 0.1 * h.square()

    ours, expected = elementwise_scan(step, (part,), start), loop(step, (part,), start)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(ours, arguments), gradients(expected, arguments), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("keep", [0.0, 1e-30, 0.5, 0.999, 1.0], ids=str)
def test_no_product_overflows_or_is_lost_over_many_steps(keep: float) -> None:
    """In float32; a cumulative product divided by another one would be 0 / 0 here."""
    steps = 3000
    keeps, add = torch.full((1, steps, 1), keep), torch.linspace(-1, 1, steps)[None, :, None]
    exact = loop(linear, (keeps.double(), add.double()), torch.ones(1, 1, dtype=torch.float64))
    ours = linear_scan(keeps, add, torch.ones(1, 1))
    largest = max(1.0, float(exact.abs().max()))
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8])
def test_both_orders_of_joining_agree(steps: int) -> None:
    keep, add = normal(BATCH, steps, WIDTH, seed=0), normal(BATCH, steps, WIDTH, seed=1)
    torch.testing.assert_close(prefix(keep, add), one_by_one(keep, add), rtol=0, atol=1e-13)


def test_a_delay_and_the_last_step_of_each_length() -> None:
    x, first = torch.arange(6.0).reshape(2, 3, 1), torch.tensor([[8.0], [9.0]])
    assert delayed(x, first)[..., 0].tolist() == [[8, 0, 1], [9, 3, 4]]
    assert at_length(x, first, torch.tensor([2, 0]))[:, 0].tolist() == [1, 9]
