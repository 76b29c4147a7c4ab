"""Exponential gates and their stabiliser m (Beck et al. 2024, arXiv:2405.04517, equations 15 to 17).

A gate exp(I) overflows. So the memory is stored divided by exp(m), about the largest of all its parts:

    m'          = max(m + lambda, I)               lambda = 2 (s - 1) / (s + 1), s = sigmoid(F)
    in_gate     = exp(I - m')
    forget_gate = s · exp(m - m')

m cancels in the output, so any m of the right size will do. The paper has log s for lambda. Its first Padé
approximant, never below it, keeps both gates at most 1, and lets an old maximum fade at about the same pace.
It needs no logarithm: in ONNX Runtime the bits of `Log` and `Softplus` depend on the place in the tensor,
that is on the other rows of the batch. A gradient through m would be 0, and is not computed.
"""

import numpy as np
import torch
from torch import Tensor

from training.graph import Graph


def open_gates(in_gate: Tensor, forget_gate: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I, F and m → in_gate, forget_gate and m', all of one shape."""
    share = forget_gate.sigmoid()
    with torch.no_grad():
        after = torch.maximum(m + 2 * ((share - 1) / (share + 1)), in_gate)
    return (in_gate - after).exp(), share * (m - after).exp(), after


def write_gates(body: Graph, in_gate: str, forget_gate: str, m: str) -> tuple[str, str, str]:
    """Write `open_gates`."""
    one, two = (body.weight(name, np.array(value, np.float32)) for name, value in (("one", 1), ("two", 2)))
    share = body.add("Sigmoid", [forget_gate], ["share"])
    less, more = body.add("Sub", [share, one], ["share_less"]), body.add("Add", [share, one], ["share_more"])
    fading = body.add("Mul", [two, body.add("Div", [less, more], ["half_fading"])], ["fading"])
    after = body.add("Max", [body.add("Add", [m, fading], ["m_faded"]), in_gate], ["m_after"])
    opened = body.add("Exp", [body.add("Sub", [in_gate, after], ["in_gate_below_m"])], ["in_gate_open"])
    shift = body.add("Exp", [body.add("Sub", [m, after], ["m_fall"])], ["m_shift"])
    return opened, body.add("Mul", [share, shift], ["forget_gate_open"]), after


def start_open(bias: Tensor) -> None:
    """Set the biases of forget gates to between 3 and 6, so that they keep from 20 to 400 steps."""
    with torch.no_grad():
        bias.copy_(torch.from_numpy(np.linspace(3, 6, len(bias))))
