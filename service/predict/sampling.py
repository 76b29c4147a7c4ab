"""Draws the next token from a language model's output. Pure: the random number is an argument."""

import numpy as np

from service.sequence import Array


def draw(log_odds: Array, *, temperature: float, top_k: int | None, chance: float) -> int:
    """The token at `chance`, in [0, 1), of the cumulative distribution of log_odds [vocabulary].

    p is proportional to exp(log_odds / temperature) for the `top_k` likeliest tokens (of equals, the first),
    and 0 for all others. Temperature 0 is the likeliest token. Computed in float64, so that the rounding of
    float32 on a machine makes no difference.
    """
    odds = log_odds.astype(np.float64)
    if temperature == 0:
        return int(odds.argmax())
    order = np.argsort(-odds, kind="stable")[:top_k]
    with np.errstate(over="ignore"):  # a tiny temperature: -inf, a probability of 0
        weights = np.exp((odds[order] - odds[order[0]]) / temperature)
    cumulative = np.cumsum(weights)
    return int(order[np.searchsorted(cumulative, chance * cumulative[-1], side="right")])
