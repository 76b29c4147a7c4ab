"""The network: input layer → cell → pool (→ decoder) → dropout → dense (→ quantiles). Knows no training."""

from typing import Any, Literal

import torch
from numpy import float32
from numpy.typing import NDArray
from torch import Tensor, nn

from training import cells, pooling
from training.cells.cell import State
from training.config import PoolName
from training.data.dataset import Forecast, Input, Sequence
from training.errors import TrainingError
from training.inputs import InputLayer
from training.quantiles import Estimates, Quantiles

STORED_NAMES = {
    "input_layer": "front",
    "quantiles": "tail",
}  # of the layers, in weights.pt and in checkpoints


class NetworkError(TrainingError):
    """The parts of the network do not fit each other."""


class Decoder(nn.Module):
    """What the head reads: h_t, and with known values of later steps a hidden layer over h_t and them.

    c_t = relu(W [h_t, x_t+h for each horizon h] + b): the global context of MQ-RNN (Wen, Torkkola,
    Narayanaswamy, Madeka 2017, arXiv:1711.11053), from which all horizons are forecast at once.
    Such values do not enter the cell, so that its state does not depend on them.
    """

    def __init__(self, width: int, ahead_width: int) -> None:
        super().__init__()
        self.context = nn.Linear(width + ahead_width, width) if ahead_width else None
        self.width = 2 * width if ahead_width else width

    def forward(self, h: Tensor, ahead: Tensor | None) -> Tensor:
        """[batch, time, width] and [batch, time, ahead_width] → [batch, time, self.width]."""
        if self.context is None or ahead is None:
            return h
        context = torch.relu(self.context(torch.cat([h, ahead], dim=-1)))
        return torch.cat([h, context], dim=-1)


class Network(nn.Module):
    """A sequence network with an output at every step. Its state is an argument and a result."""

    thresholds: Tensor | None

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
        zoneout: float = 0,
        noise: float = 0,
        pool: PoolName | Literal["auto"] = "last",
        forecast: Forecast | None = None,
        estimates: bool = False,
        quantiles: tuple[float, ...] = (),
        independent: bool = False,
        tie: bool = False,
    ) -> None:
        """`features`: the numbers in a step, or its inputs. Raises CellError, PoolError, NetworkError.

        Without `forecast` or `estimates`, which have units, the outputs are the logits of classes, one of
        which is true; with `independent` of labels that are true or not independently of each other.
        `estimates`: numbers, or `quantiles` of them. `tie`: logits of tokens use the embedding of the input.
        """
        super().__init__()
        self.out, self.noise = out, noise
        thresholds = torch.full((out,), 0.5, dtype=torch.float64) if independent else None
        self.register_buffer("thresholds", thresholds)  # of labels: the probability that predicts each
        inputs = numeric_inputs(features) if isinstance(features, int) else features
        reads = cells.reads(cell)
        self.input_layer = InputLayer(
            inputs, embedding=embedding, projection=input_projection, has_frames="frame" in reads
        )
        self.cell = cells.build(
            cell,
            features=self.input_layer.width,
            hidden=hidden,
            layers=layers,
            projection=projection,
            dropout=layer_dropout,
            layout=self.input_layer.layout(reads),
            zoneout=zoneout,
        )
        self.pool = pooling.build(
            pool, width=self.cell.width, both_ways=self.cell.both_ways, carries=self.cell.causal
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = Decoder(self.cell.width, self.input_layer.ahead_width)
        self.head = nn.Linear(self.decoder.width, out)
        if tie:
            self._tie()
        self.quantiles = _units_of(out, forecast, quantiles) if forecast or estimates else None
        if self.quantiles and (forecast or quantiles):
            self.quantiles.center(self.head.bias)
        self.register_state_dict_post_hook(_to_stored_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_from_stored_names)  # type: ignore[no-untyped-call]

    def _tie(self) -> None:
        """Share the embedding with the head (Press, Wolf 2017; Inan, Khosravi, Socher 2017).

        Initial weights are those of the head: rows of unit variance would be logits of the size of the width.
        Raises NetworkError.
        """
        kinds = [input_.kind for input_ in self.input_layer.inputs]
        if kinds != ["token"]:
            raise NetworkError(f"--tie needs a single input of tokens; there are: {', '.join(kinds)}")
        table = self.input_layer.table(self.input_layer.inputs[0].name)
        if table.shape != self.head.weight.shape:
            raise NetworkError(
                f"--tie: an embedding of {table.shape[0]} tokens by {table.shape[1]} numbers is no head "
                f"of {self.out} outputs by {self.cell.width}; add --embedding {self.cell.width}"
            )
        with torch.no_grad():
            table.copy_(self.head.weight)
        assert isinstance(table, nn.Parameter)
        self.head.weight = table

    def clear_calibration(self) -> None:
        """Forget bands and thresholds, which hold for the weights that they were fitted to alone."""
        if self.thresholds is not None:
            self.thresholds.fill_(0.5)
        if self.quantiles:
            self.quantiles.margin.zero_()

    def learn_normalisation(self, sequences: tuple[Sequence, ...]) -> None:
        """Set mean and spread of each feature from all steps; a constant feature is not scaled."""
        self.input_layer.learn(sequences)

    @property
    def states(self) -> dict[str, tuple[int, int]]:
        """The recurrent tensors in order: by name, number of layers and width."""
        of_inputs = {name: (1, width) for name, width in self.input_layer.states.items()}
        of_cell = {name: (self.cell.layers, self.cell.state_width(name)) for name in self.cell.states}
        return of_inputs | of_cell | {name: (1, width) for name, width in self.pool.states.items()}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.weight.device

    def initial_state(self, batch: int) -> State:
        """The state at the start of a sequence: zeros, each [layers, batch, width of the state]."""
        like, of_pool = self.head.weight, self.pool.initial_state(batch, self.device)
        widths = list(self.states.values())[: len(self.states) - len(of_pool)]
        return *(like.new_zeros(layers, batch, width) for layers, width in widths), *of_pool

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """[batch, time, columns] → [batch, time, out]; the state after each row's last true step."""
        count = len(self.input_layer.states)
        encoded = self.input_layer(x, lengths, state[:count])
        channels = encoded.channels
        if self.training and self.noise:
            channels = channels + self.noise * torch.randn_like(channels)
        of_cell, of_pool = state[count : len(state) - len(self.pool.states)], self.pool_state(state)
        y, after = self.cell(channels, lengths, of_cell)  # [batch, time, width]
        pooled, its_state = self.pool(y, lengths, of_pool)
        y = self.head(self.dropout(self.decoder(pooled, encoded.ahead)))
        return self.quantiles(y, encoded.level) if self.quantiles else y, encoded.state + after + its_state

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probabilities of classes, or of labels, from their logits [..., out]."""
        return logits.softmax(-1) if self.thresholds is None else logits.sigmoid()

    def pool_state(self, state: State) -> State:
        """The part of a state that belongs to the pool."""
        return state[len(state) - len(self.pool.states) :]


def _units_of(out: int, forecast: Forecast | None, quantiles: tuple[float, ...]) -> Quantiles:
    """The layer behind the head that gives its outputs their units."""
    return Quantiles(forecast) if forecast else Estimates(out // max(1, len(quantiles)), quantiles)


def _to_stored_names(_: nn.Module, weights: dict[str, Any], prefix: str, *__: object) -> None:
    _rename(weights, prefix, STORED_NAMES)


def _from_stored_names(_: nn.Module, weights: dict[str, Any], prefix: str, *__: object) -> None:
    _rename(weights, prefix, {stored: name for name, stored in STORED_NAMES.items()})


def _rename(weights: dict[str, Any], prefix: str, names: dict[str, str]) -> None:
    """Rename the layers directly below `prefix`, in place and without changing the order."""
    for key in list(weights):
        layer, dot, rest = key.removeprefix(prefix).partition(".")
        value = weights.pop(key)
        is_ours = key.startswith(prefix) and layer in names
        weights[f"{prefix}{names[layer]}{dot}{rest}" if is_ours else key] = value


def numeric_inputs(features: int) -> tuple[Input, ...]:
    """One input of this many numbers."""
    return (Input(features=tuple(f"x_{feature}" for feature in range(features))),)


def last_step(y: Tensor, lengths: Tensor) -> Tensor:
    """[batch, time, out] → [batch, out]: each row at the last step of its true length."""
    return y[torch.arange(len(y), device=y.device), lengths.to(y.device) - 1]


def softmax(logits: NDArray[float32]) -> NDArray[float32]:
    """Probabilities over the last axis."""
    return torch.from_numpy(logits).softmax(-1).numpy()
