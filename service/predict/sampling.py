"""Draws the next token from what a language model says. Pure: chance is an argument."""

import numpy as np

from service.sequence import Array


def draw(log_odds: Array, *, temperature: float, top_k: int | None, chance: float) -> int:
    """The token that `chance`, from 0 to below 1, falls on; log_odds [vocabulary], log p or logits.

    p is proportional to exp(log_odds / temperature), 0 but for the `top_k` likeliest (of equals the first).
    Temperature 0 is the likeliest token. In float64, so that it depends on no machine's rounding of float32.
    """
    odds = log_odds.astype(np.float64)
    if temperature == 0:
        return int(odds.argmax())
    order = np.argsort(-odds, kind="stable")[:top_k]
    with np.errstate(over="ignore"):  # a tiny temperature: to -inf, which is no chance at all
        weights = np.exp((odds[order] - odds[order[0]]) / temperature)
    reached = np.cumsum(weights)
    return int(order[np.searchsorted(reached, chance * reached[-1], side="right")])
