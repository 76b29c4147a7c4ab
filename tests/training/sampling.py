"""Text out of a language model in PyTorch: what `POST /generate` does with the exported graph.

The draw is the service's own, held equal by a test; the package of the service is not needed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import Network


def draw(logits: NDArray[np.floating], *, temperature: float, top_k: int | None, chance: float) -> int:
    """The token that `chance`, from 0 to below 1, falls on; logits [vocabulary].

    p is proportional to exp(logits / temperature), 0 but for the `top_k` likeliest; temperature 0: the
    likeliest token.
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
    """Go on from a prompt, token by token; the same seed gives the same tokens."""
    chances = np.random.default_rng(seed)
    drawn: list[int] = []
    state, given = network.initial_state(1), prompt
    for _ in range(steps):
        x: Tensor = torch.tensor(given, dtype=torch.float32, device=network.device)[None, :, None]
        said, state = network(x, torch.tensor([len(given)]), state)
        chance = float(chances.random())
        drawn.append(draw(said[0, -1].cpu().numpy(), temperature=temperature, top_k=top_k, chance=chance))
        given = drawn[-1:]
    return drawn
