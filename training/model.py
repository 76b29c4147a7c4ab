"""The network: normalise → recurrent cell → dropout → dense. Knows nothing of training or export."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import cells
from training.cells.cell import Affine, State
from training.data.dataset import Sequence


class Network(nn.Module):
    """A sequence network that says something at every step; its memory goes in and comes out."""

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        cell: str,
        features: int,
        hidden: int,
        layers: int,
        out: int,
        projection: int = 0,
        dropout: float = 0,
        layer_dropout: float = 0,
        noise: float = 0,
    ) -> None:
        super().__init__()
        self.features, self.out, self.noise = features, out, noise
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.cell = cells.build(
            cell,
            features=features,
            hidden=hidden,
            layers=layers,
            projection=projection,
            dropout=layer_dropout,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.cell.width, out)

    def learn_normalisation(self, sequences: tuple[Sequence, ...]) -> None:
        """Take mean and spread of each feature over all steps given; a constant one is not scaled."""
        steps = np.concatenate(sequences).astype(np.float64)  # [steps, features]
        spread = steps.std(axis=0)
        self.shift.copy_(torch.from_numpy(steps.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(1 / np.where(spread > 0, spread, 1)))

    def normalisation(self) -> Affine:
        """What `forward` does to x first."""
        shift, scale = (buffer.cpu().double().numpy() for buffer in (self.shift, self.scale))
        return Affine(shift, scale)

    def initial_state(self, batch: int) -> State:
        """What a sequence starts from: each [layers, batch, width of the state]."""
        return self.cell.initial_state(batch)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """[batch, time, features] → logits [batch, time, out]; the state after each row's last true step."""
        x = (x - self.shift) * self.scale
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        y, state = self.cell(x, lengths, state)  # [batch, time, width]
        return self.head(self.dropout(y)), state


def last_step(y: Tensor, lengths: Tensor) -> Tensor:
    """[batch, time, out] → [batch, out]: each row at the last step of its true length."""
    return y[torch.arange(len(y), device=y.device), lengths.to(y.device) - 1]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis."""
    return torch.from_numpy(logits).softmax(-1).numpy()
