"""Exponential gates and their stabiliser m (Beck et al. 2024, arXiv:2405.04517, equations 15 to 17).

A gate exp(I) overflows. So the memory is stored divided by exp(m), about the largest of all its parts:

    m'          = max(m + lambda, I)                 lambda = min(F, 0) - 2 u / (2 + u), u = exp(-|F|)
    in_gate     = exp(I - m')
    forget_gate = sigmoid(F) · exp(m - m')           sigmoid(F) = exp(min(F, 0)) / (1 + u)

m cancels in the output, so any m of the right size will do. The paper has log sigmoid(F) for lambda, which is
min(F, 0) - log(1 + u). The approximant of the logarithm differs by at most 4 %, and keeps both gates at most
1. ONNX Runtime's operators decide the form: the bits of `Log` and `Softplus` depend on the place in the
tensor, that is on the other rows of the batch; and `Sigmoid` is never below 1.5e-8, so a forget gate that is
closed more firmly than an in gate would be too large. A gradient through m would be 0, and is not computed.
"""

import numpy as np
import torch
from torch import Tensor

from training.graph import Graph


def open_gates(in_gate: Tensor, forget_gate: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I, F and m → in_gate, forget_gate and m', all of one shape."""
    closed, u = forget_gate.clamp(max=0), (-forget_gate.abs()).exp()
    with torch.no_grad():
        after = torch.maximum(m + closed - 2 * u / (2 + u), in_gate)
    return (in_gate - after).exp(), (closed + m - after).exp() / (1 + u), after


def write_gates(body: Graph, in_gate: str, forget_gate: str, m: str) -> tuple[str, str, str]:
    """Write `open_gates`."""
    zero, one, two = (body.weight(f"number_{n}", np.array(n, np.float32)) for n in (0, 1, 2))
    closed = body.add("Min", [forget_gate, zero], ["forget_gate_closed"])
    minus_size = body.add("Neg", [body.add("Abs", [forget_gate], ["forget_gate_size"])], ["minus_size"])
    u = body.add("Exp", [minus_size], ["u"])
    part = body.add("Div", [u, body.add("Add", [u, two], ["u_and_two"])], ["half_log"])
    kept = body.add("Add", [m, closed], ["m_closed"])
    faded = body.add("Sub", [kept, body.add("Mul", [two, part], ["log"])], ["m_faded"])
    after = body.add("Max", [faded, in_gate], ["m_after"])
    opened = body.add("Exp", [body.add("Sub", [in_gate, after], ["in_gate_below_m"])], ["in_gate_open"])
    shift = body.add("Exp", [body.add("Sub", [kept, after], ["m_fall"])], ["m_shift"])
    share = body.add("Div", [shift, body.add("Add", [u, one], ["u_and_one"])], ["forget_gate_open"])
    return opened, share, after


def start_open(bias: Tensor) -> None:
    """Set the biases of forget gates to between 3 and 6, so that they keep from 20 to 400 steps."""
    with torch.no_grad():
        bias.copy_(torch.from_numpy(np.linspace(3, 6, len(bias))))
