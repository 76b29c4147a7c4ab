"""Takes weights away: single ones, or whole hidden units. Knows nothing of training or of ONNX.

Single weights (Han, Pool, Tran, Dally 2015): the smallest of all matrices together become zero; the matrices
keep their shapes. Hidden units: a unit goes with its rows in every gate and its columns in all that reads it,
so that the matrices shrink; those stay whose outgoing weights are the largest.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from training.cells.fused import KINDS, Fused
from training.cells.gru import GRU
from training.cells.lstm import LSTM
from training.cells.rnn import RNN
from training.errors import TrainingError
from training.model import Network

Masks = dict[str, Tensor]  # by parameter: 1 where a weight stays


class CompressError(TrainingError):
    """This network cannot be made smaller so, or it became too bad."""


def weights_masks(network: Network, share: float) -> Masks:
    """Which weights stay, when the smallest `share` of all in the cell's and the head's matrices goes."""
    matrices = {
        name: parameter
        for part, module in (("cell", network.cell), ("head", network.head))
        for name, parameter in ((f"{part}.{inner}", p) for inner, p in module.named_parameters())
        if parameter.ndim >= 2
    }
    holder = nn.Module()
    for number, parameter in enumerate(matrices.values()):
        holder.register_parameter(f"w{number}", nn.Parameter(parameter.detach().clone()))
    prune.global_unstructured(
        [(holder, f"w{number}") for number in range(len(matrices))], prune.L1Unstructured, amount=share
    )
    masks = dict(holder.named_buffers())
    return {name: masks[f"w{number}_mask"] for number, name in enumerate(matrices)}


def apply(network: Network, masks: Masks) -> None:
    """Make zero what goes."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask.to(parameters[name].device))


def kept_units(network: Network, share: float) -> list[Tensor]:
    """Of each layer which units stay, in order. Raises CompressError."""
    cell = network.cell
    if not isinstance(cell, (LSTM, GRU, RNN)) or cell.projection:
        raise CompressError(
            f"units are removed from the cells lstm, gru and rnn, not from {type(cell).__name__}"
        )
    count = cell.hidden - round(share * cell.hidden)
    if count < 1:
        raise CompressError(f"{share:.0%} of {cell.hidden} units leave none")
    kept = []
    for number in range(cell.layers):
        columns = [getattr(cell.rnn, f"weight_hh_l{number}")]
        above = number + 1 < cell.layers
        columns.append(getattr(cell.rnn, f"weight_ih_l{number + 1}") if above else network.head.weight)
        weight = torch.cat([matrix.detach() for matrix in columns]).norm(dim=0)  # [hidden]
        kept.append(weight.topk(count).indices.sort().values)
    return kept


def without_units(network: Network, smaller: Network, kept: list[Tensor]) -> None:
    """Give `smaller`, a network of so many units, the weights of those that stay; all else as it is."""
    ours, theirs = network.cell, smaller.cell
    assert isinstance(ours, Fused)
    assert isinstance(theirs, Fused)
    with torch.no_grad():
        for name, value in _outside(network):
            smaller.get_parameter(name).copy_(value)
        for name, buffer in network.named_buffers():
            smaller.get_buffer(name).copy_(buffer)
        for number, units in enumerate(kept):
            gates = len(getattr(ours.rnn, f"weight_hh_l{number}")) // ours.hidden
            rows = torch.cat([gate * ours.hidden + units for gate in range(gates)])
            for kind in KINDS:
                found = getattr(ours.rnn, f"{kind}_l{number}")[rows]
                if kind == "weight_hh":
                    found = found[:, units]
                elif kind == "weight_ih" and number:
                    found = found[:, kept[number - 1]]
                getattr(theirs.rnn, f"{kind}_l{number}").copy_(found)
        smaller.head.weight.copy_(network.head.weight[:, kept[-1]])
        smaller.head.bias.copy_(network.head.bias)


def _outside(network: Network) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        if not name.startswith(("cell.", "head.")):
            yield name, parameter
