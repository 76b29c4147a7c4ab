"""The network: front → cell → dropout → dense (→ quantiles). Knows nothing of training or export."""

import torch
from numpy import float32
from numpy.typing import NDArray
from torch import Tensor, nn

from training import cells
from training.cells.cell import Affine, State
from training.data.dataset import Forecast, Input, Sequence
from training.inputs import Front
from training.quantiles import Quantiles


class Network(nn.Module):
    """A sequence network that says something at every step; its memory goes in and comes out."""

    def __init__(
        self,
        *,
        cell: str,
        features: int | tuple[Input, ...],
        hidden: int,
        layers: int,
        out: int,
        projection: int = 0,
        embedding: int = 16,
        input_projection: int = 0,
        dropout: float = 0,
        layer_dropout: float = 0,
        noise: float = 0,
        forecast: Forecast | None = None,
    ) -> None:
        """`features`: so many numbers a step, or the inputs that a step is made of."""
        super().__init__()
        self.out, self.noise = out, noise
        inputs = named(features) if isinstance(features, int) else features
        self.front = Front(inputs, embedding=embedding, projection=input_projection)
        self.cell = cells.build(
            cell,
            features=self.front.width,
            hidden=hidden,
            layers=layers,
            projection=projection,
            dropout=layer_dropout,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.cell.width, out)
        self.tail = Quantiles(forecast) if forecast else None
        if self.tail:
            self.tail.start(self.head.bias)

    def learn_normalisation(self, sequences: tuple[Sequence, ...]) -> None:
        """Take mean and spread of each feature over all steps given; a constant one is not scaled."""
        self.front.learn(sequences)

    def normalisation(self) -> Affine:
        """What the graph leaves to the cell to do to its input first."""
        return self.front.affine()

    @property
    def states(self) -> dict[str, tuple[int, int]]:
        """Every recurrent tensor, in order, with its layers and its width."""
        before = {name: (1, width) for name, width in self.front.states.items()}
        return before | {name: (self.cell.layers, self.cell.state_width(name)) for name in self.cell.states}

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.head.weight.device

    def initial_state(self, batch: int) -> State:
        """What a sequence starts from: zeros, each [layers, batch, width of the state]."""
        like = self.head.weight
        return tuple(like.new_zeros(layers, batch, width) for layers, width in self.states.values())

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """[batch, time, columns] → [batch, time, out]; the state after each row's last true step."""
        count = len(self.front.states)
        read = self.front(x, lengths, state[:count])
        channels = read.channels
        if self.training and self.noise:
            channels = channels + self.noise * torch.randn_like(channels)
        y, after = self.cell(channels, lengths, state[count:])  # [batch, time, width]
        y = self.head(self.dropout(y))
        return self.tail(y, read.level) if self.tail else y, read.state + after


def named(features: int) -> tuple[Input, ...]:
    """One input of so many numbers."""
    return (Input(features=tuple(f"x_{feature}" for feature in range(features))),)


def last_step(y: Tensor, lengths: Tensor) -> Tensor:
    """[batch, time, out] → [batch, out]: each row at the last step of its true length."""
    return y[torch.arange(len(y), device=y.device), lengths.to(y.device) - 1]


def softmax(logits: NDArray[float32]) -> NDArray[float32]:
    """Probabilities over the last axis."""
    return torch.from_numpy(logits).softmax(-1).numpy()
