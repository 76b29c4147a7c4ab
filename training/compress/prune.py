"""Prunes weights: single ones, or whole hidden units. Knows nothing of training or of ONNX.

Single weights (Han, Pool, Tran, Dally 2015): the smallest weights of all matrices together become zero; the
matrices keep their shapes. Hidden units: the units with the smallest outgoing weights are removed, with their
rows in every gate and their columns in every matrix that reads them, so the matrices shrink.
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

Masks = dict[str, Tensor]  # by parameter: 1 for a weight that remains, 0 for a pruned one


class CompressError(TrainingError):
    """The network cannot be compressed in this way, or the result is not good enough."""


def weights_masks(network: Network, share: float) -> Masks:
    """Masks that prune the smallest `share` of all weights in the matrices of the cell and the head."""
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
    """Set the pruned weights to zero."""
    parameters = dict(network.named_parameters(remove_duplicate=False))  # a tied head has two names
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask.to(parameters[name].device))


def largest_units(network: Network, share: float) -> list[Tensor]:
    """The units of each layer that remain when `share` of them is removed, in order. Raises CompressError."""
    cell = network.cell
    if not isinstance(cell, (LSTM, GRU, RNN)) or cell.projection:
        raise CompressError(
            f"units can be removed from the cells lstm, gru and rnn, not from {type(cell).__name__}"
        )
    if next(network.pool.parameters(), None) is not None:
        raise CompressError(f"units cannot be removed below the pool {network.pool.name}, which has weights")
    if network.decoder.context is not None:
        raise CompressError("units cannot be removed below a head that reads known values of later steps")
    count = cell.hidden - round(share * cell.hidden)
    if count < 1:
        raise CompressError(f"{share:.0%} of {cell.hidden} units leave none")
    remaining = []
    for number in range(cell.layers):
        columns = [getattr(cell.rnn, f"weight_hh_l{number}")]
        above = number + 1 < cell.layers
        columns.append(getattr(cell.rnn, f"weight_ih_l{number + 1}") if above else network.head.weight)
        weight = torch.cat([matrix.detach() for matrix in columns]).norm(dim=0)  # [hidden]
        remaining.append(weight.topk(count).indices.sort().values)
    return remaining


def copy_units(network: Network, smaller: Network, remaining: list[Tensor]) -> None:
    """Copy the weights of the remaining units, and everything outside the cell, into a `smaller` network."""
    source, target = network.cell, smaller.cell
    assert isinstance(source, Fused)
    assert isinstance(target, Fused)
    with torch.no_grad():
        for name, value in _outside_cell(network):
            smaller.get_parameter(name).copy_(value)
        for name, buffer in network.named_buffers():
            smaller.get_buffer(name).copy_(buffer)
        for number, units in enumerate(remaining):
            gates = len(getattr(source.rnn, f"weight_hh_l{number}")) // source.hidden
            rows = torch.cat([gate * source.hidden + units for gate in range(gates)])
            for kind in KINDS:
                weights = getattr(source.rnn, f"{kind}_l{number}")[rows]
                if kind == "weight_hh":
                    weights = weights[:, units]
                elif kind == "weight_ih" and number:
                    weights = weights[:, remaining[number - 1]]
                getattr(target.rnn, f"{kind}_l{number}").copy_(weights)
        smaller.head.weight.copy_(network.head.weight[:, remaining[-1]])
        smaller.head.bias.copy_(network.head.bias)


def _outside_cell(network: Network) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        if not name.startswith(("cell.", "head.")):
            yield name, parameter
