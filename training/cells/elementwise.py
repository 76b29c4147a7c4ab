"""Recurrences in which a unit reads no state but its own, over all steps at once. Knows nothing of cells.

    h_t[unit] = f(parts_t[unit], h_(t-1)[unit])          parts, h [batch, time, width]

A linear one, h_t = keep_t · h_(t-1) + add_t, is a prefix sum: two steps in a row are one, with keep' · keep
and keep' · add + add', and neighbours can be joined in any order (Blelloch 1990; Martin, Cundy 2018). So
log2(time) operations on whole tensors replace one for each step, and the result is that of the loop within
rounding. With keep in [0, 1] no product grows, and one that underflows belongs to a term that the sum would
round away. So the logarithms of Feng et al. (2024) are not needed, and add may be negative.

The gradient of any of these recurrences is such a linear one, backwards in time, with keep = df/dh.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Parts = tuple[Tensor, ...]
Update = Callable[[Parts, Tensor], Tensor]  # parts, h before → h after; elementwise
Solve = Callable[[Tensor, Tensor], Tensor]  # keep, add → h from zeros; each [batch, time, width]


def linear_scan(keep: Tensor, add: Tensor, start: Tensor) -> Tensor:
    """keep in [0, 1] and add [batch, time, width], start [batch, width] → h at every step."""
    with torch.no_grad():
        first = add[:, :1] + keep[:, :1] * start[:, None]
        h = prefix(keep, torch.cat([first, add[:, 1:]], dim=1))
    if not torch.is_grad_enabled():
        return h
    return _through_time(keep * delayed(h, start) + add, keep, prefix)


def elementwise_scan(update: Update, parts: Parts, start: Tensor) -> Tensor:
    """Parts [batch, time, width], start [batch, width] → h at every step; `update` may have parameters.

    The steps run one after the other, but without a graph. Gradients come from one call of `update` for all
    steps, so training takes a few operations for each step, not a few dozen.
    """
    with torch.no_grad():
        steps = [start]
        for parts_of_step in zip(*(part.unbind(1) for part in parts), strict=True):
            steps.append(update(parts_of_step, steps[-1]))
        h = torch.stack(steps[1:], dim=1)
    if not torch.is_grad_enabled():
        return h
    after = update(parts, delayed(h, start))
    before = delayed(h, start).detach().requires_grad_()
    [slope] = torch.autograd.grad(update(tuple(part.detach() for part in parts), before).sum(), before)
    return _through_time(after, slope, one_by_one)  # a slope above 1 could overflow in a prefix


def delayed(x: Tensor, first: Tensor) -> Tensor:
    """x [batch, time, width] one step later; `first` [batch, width] is at the first step."""
    return torch.cat([first[:, None], x[:, :-1]], dim=1)


def at_length(x: Tensor, first: Tensor, lengths: Tensor) -> Tensor:
    """x [batch, time, width] at the last step of each length [batch]: [batch, width]; `first` at length 0."""
    return torch.cat([first[:, None], x], dim=1)[torch.arange(len(x), device=x.device), lengths]


def prefix(keep: Tensor, add: Tensor) -> Tensor:
    """All h from zeros, by joining neighbours: first at odd steps, from half as many; then at even steps."""
    if keep.shape[1] == 1:
        return add
    joined = keep[:, 1::2] * add[:, :-1:2] + add[:, 1::2]
    odd = prefix(keep[:, 1::2] * keep[:, :-1:2], joined)
    h = torch.empty_like(add)
    h[:, 0], h[:, 1::2] = add[:, 0], odd
    h[:, 2::2] = keep[:, 2::2] * odd[:, : h[:, 2::2].shape[1]] + add[:, 2::2]
    return h


def one_by_one(keep: Tensor, add: Tensor) -> Tensor:
    """All h from zeros, step by step."""
    steps = [add[:, 0]]
    for keep_of_step, add_of_step in list(zip(keep.unbind(1), add.unbind(1), strict=True))[1:]:
        steps.append(torch.addcmul(add_of_step, keep_of_step, steps[-1]))
    return torch.stack(steps, dim=1)


def _through_time(after: Tensor, slope: Tensor, solve: Solve) -> Tensor:
    """`after`; its gradient at a step includes that of all later steps, which reach it through `slope`."""
    through: Tensor = _ThroughTime.apply(after, slope.detach(), solve)  # type: ignore[no-untyped-call]
    return through


class _ThroughTime(torch.autograd.Function):
    """d_t = gradient_t + slope_(t+1) · d_(t+1)."""

    @staticmethod
    def forward(ctx: Any, after: Tensor, slope: Tensor, solve: Solve) -> Tensor:
        ctx.solve = solve
        ctx.save_for_backward(slope)
        return after.view_as(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        [slope] = ctx.saved_tensors
        back = delayed(slope.flip(1), torch.zeros_like(slope[:, 0]))
        return ctx.solve(back, gradient.flip(1)).flip(1), None, None
