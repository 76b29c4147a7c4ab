"""Text out of a language model in PyTorch: the reference for `POST /generate` on the exported graph.

The draw is that of the service; a test holds both equal.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import Network


def draw(logits: NDArray[np.floating], *, temperature: float, top_k: int | None, chance: float) -> int:
    """The token at the quantile `chance`, from 0 to below 1; logits [vocabulary].

    p is proportional to exp(logits / temperature), and 0 except for the `top_k` most likely tokens.
    Temperature 0: the most likely token.
    """
    odds = logits.astype(np.float64)
    if temperature == 0:
        return int(odds.argmax())
    order = np.argsort(-odds, kind="stable")[:top_k]
    with np.errstate(over="ignore"):
        weights = np.exp((odds[order] - odds[order[0]]) / temperature)
    reached = np.cumsum(weights)
    return int(order[np.searchsorted(reached, chance * reached[-1], side="right")])


@torch.inference_mode()
def generate(
    network: Network,
    prompt: list[int],
    *,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> list[int]:
    """Continue a prompt token by token; the same seed gives the same tokens."""
    chances = np.random.default_rng(seed)
    drawn: list[int] = []
    state, tokens = network.initial_state(1), prompt
    for _ in range(steps):
        x: Tensor = torch.tensor(tokens, dtype=torch.float32, device=network.device)[None, :, None]
        logits, state = network(x, torch.tensor([len(tokens)]), state)
        chance = float(chances.random())
        drawn.append(draw(logits[0, -1].cpu().numpy(), temperature=temperature, top_k=top_k, chance=chance))
        tokens = drawn[-1:]
    return drawn
