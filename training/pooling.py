"""The layer between cell and head: from the outputs of all steps to one. Knows no cell and no task.

    last         y_t
    ends         [ahead_t, back_0]    of a cell of two directions, each where it has read most: at the last
                                      step back_t has read one step, and back_0 all of them
    mean         sum y_i / t          over the steps i up to t
    attention    sum a_i y_i          a: softmax over these steps of w · y_i (Bahdanau, Cho, Bengio 2015, with
                                      a learned query that is the same at each step)

Each is an output at every step, and the class of a sequence is that of its last step. Mean and attention are
sums over the steps before, so they have a state, in float64: a mean of a million steps loses no digit.

    top ← max(top, w · y)    sum ← sum · exp(top₋ - top) + [y, 1] · exp(w · y - top)    pooled: sum / its last
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Layer, State, state_out, weights_of
from training.cells.scan import write_is_alive, write_product
from training.config import PoolName
from training.errors import TrainingError
from training.graph import Graph

SUM, TOP = "pool_sum", "pool_top"
LOWEST = -1e300  # below any score
SCORE_ROWS = (
    16  # of the product that computes the score, all but one zero: with one row, its bits depend on the batch
)


class PoolError(TrainingError):
    """The pool does not fit the cell or the task."""


class Pool(nn.Module):
    """`last`: the output of each step as it is; other pools are its subclasses."""

    name: ClassVar[PoolName] = "last"

    def __init__(self, width: int, *, carries: bool) -> None:
        """`width`: of the cell's output. `carries`: the state is passed on; else each sequence is whole."""
        super().__init__()
        self.width, self.carries = width, carries

    @property
    def states(self) -> dict[str, int]:
        """Widths of the states by name; all are float64."""
        return {}

    def initial_state(self, batch: int, device: torch.device) -> State:
        """The state at the start of a sequence: zeros, each [1, batch, width]."""
        return tuple(
            torch.zeros(1, batch, width, dtype=torch.float64, device=device) for width in self.states.values()
        )

    def forward(self, y: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:  # noqa: ARG002
        """[batch, time, width] → the same shape; the state after each row's last true step."""
        return y, ()

    def write(self, graph: Graph, y: str, lengths: str) -> str:  # noqa: ARG002
        """Write `forward` and its states: [time, batch, width] → the same shape."""
        return y


class Ends(Pool):
    """The first half of the width at each step, and the second half at step 0."""

    name = "ends"

    def forward(self, y: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:  # noqa: ARG002
        """See `Pool.forward`."""
        ahead, back = y.chunk(2, dim=-1)
        return torch.cat([ahead, back[:, :1].expand_as(back)], dim=-1), ()

    def write(self, graph: Graph, y: str, lengths: str) -> str:  # noqa: ARG002
        """See `Pool.write`."""
        ahead, back = graph.split(y, ["ahead", "back"], [self.width // 2] * 2)
        start = graph.weight("start_step", np.array([0]))
        at_start = graph.add("Gather", [back, start], ["back_at_start"], axis=0)  # [1, batch, width / 2]
        shape = graph.add("Shape", [ahead], ["ahead_shape"])
        back = graph.add("Expand", [at_start, shape], ["back_at_every_step"])
        return graph.add("Concat", [ahead, back], ["ends"], axis=-1)


class Mean(Pool):
    """The mean of all steps so far: `Attention` with equal weights."""

    name: ClassVar[PoolName] = "mean"

    @property
    def states(self) -> dict[str, int]:
        """See `Pool.states`: the weighted sum of [y, 1]."""
        return {SUM: self.width + 1} if self.carries else {}

    def forward(self, y: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Pool.forward`."""
        total = _with_one(y, lengths).cumsum(dim=1)  # [batch, time, width + 1]
        if state:
            total = total + state[0][0][:, None]
        return _pooled(total, y), (total[:, -1][None],) if self.carries else ()

    def write(self, graph: Graph, y: str, lengths: str) -> str:
        """See `Pool.write`."""
        layer = Layer(0, y, lengths, [], [])  # above all others
        alive = write_is_alive(graph, layer)
        widths = self._widths
        axis = graph.weight("layer_axis", np.array([0]))
        before = []
        for name, width in widths.items():
            if self.carries:
                graph.input(name, [1, "batch", width], kind=TensorProto.DOUBLE)
                before.append(graph.add("Squeeze", [name, axis], [f"{name}_before"]))
            else:
                before.append(_write_zeros(graph, name, y, width))
        after = [f"{name}_after" for name in widths]
        body = self._body().proto()
        graph.add("Scan", [*before, y, alive], [*after, "pooled"], body=body, num_scan_inputs=2)
        if self.carries:
            for name, end in zip(widths, after, strict=True):
                graph.add("Unsqueeze", [end, axis], [state_out(name)])
        return "pooled"

    @property
    def _widths(self) -> dict[str, int]:
        """Widths of the running values by name, whether or not they are passed on."""
        return {SUM: self.width + 1}

    def _body(self) -> Graph:
        """Running values and y of one step [batch, width] → both after it."""
        body = Graph("pool")
        before = [body.input(f"{name}_old", ["batch", width], kind=TensorProto.DOUBLE)
                  for name, width in self._widths.items()]  # fmt: skip
        y = body.input("y_step", ["batch", self.width])
        alive = body.input("alive", ["batch", 1], kind=TensorProto.BOOL)
        fine = body.add("Cast", [y], ["y_fine"], to=TensorProto.DOUBLE)
        pads = body.weight("pads", np.array([0, 0, 0, 1]))
        with_one = body.add("Pad", [fine, pads, body.weight("one", np.array(1.0))], ["with_one"])
        after = self._write_step(body, y, with_one, before)
        for new, old, width in zip(after, before, self._widths.values(), strict=True):
            kept = body.add("Where", [alive, new, old], [f"{old}_kept"])
            body.output(kept, ["batch", width], kind=TensorProto.DOUBLE)
        total, count = body.split(after[0], ["total", "count"], [self.width, 1])
        mean = body.add("Div", [total, count], ["mean"])
        body.output(body.add("Cast", [mean], ["pooled_step"], to=TensorProto.FLOAT), ["batch", self.width])
        return body

    def _write_step(self, body: Graph, y: str, with_one: str, before: list[str]) -> list[str]:  # noqa: ARG002
        return [body.add("Add", [before[0], with_one], ["sum_after"])]


class Attention(Mean):
    """The mean of all steps so far, weighted by exp(w · y)."""

    name = "attention"

    def __init__(self, width: int, *, carries: bool) -> None:
        super().__init__(width, carries=carries)
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # at first the mean

    @property
    def states(self) -> dict[str, int]:
        """See `Pool.states`: the weighted sum of [y, 1], and the largest score."""
        return self._widths if self.carries else {}

    @property
    def _widths(self) -> dict[str, int]:
        return {SUM: self.width + 1, TOP: 1}

    def forward(self, y: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Pool.forward`."""
        steps = _with_one(y, lengths)  # [batch, time, width + 1]
        score = (y.double() * self.score.weight.double()).sum(-1, keepdim=True)
        score = score.masked_fill(steps[..., -1:] == 0, LOWEST)  # [batch, time, 1]
        if state:
            total, top = (part[0][:, None] for part in state)
            steps = torch.cat([total, steps], dim=1)
            score = torch.cat([torch.where(total[..., -1:] > 0, top, LOWEST), score], dim=1)
        total, top = _running_sums(steps, score)
        return _pooled(total[:, -y.shape[1] :], y), (
            total[None, :, -1],
            top[None, :, -1],
        ) if self.carries else ()

    def _write_step(self, body: Graph, y: str, with_one: str, before: list[str]) -> list[str]:
        total, top = before
        rows = np.zeros((SCORE_ROWS, self.width))
        rows[0] = weights_of(self.score.weight)
        score, _ = body.split(
            write_product(body, "scores", rows, y), ["score", "no_score"], [1, SCORE_ROWS - 1]
        )
        score = body.add("Cast", [score], ["score_fine"], to=TensorProto.DOUBLE)
        _, weight = body.split(total, ["sum_old", "weight_old"], [self.width, 1])
        zero = body.weight("zero", np.array(0.0))
        is_first = body.add("Equal", [weight, zero], ["is_first"])
        highest = body.add("Max", [top, score], ["highest"])
        new_top = body.add("Where", [is_first, score, highest], ["top_after"])
        fall = body.add("Min", [body.add("Sub", [top, new_top], ["change"]), zero], ["fall"])
        below = body.add("Sub", [score, new_top], ["below_top"])
        kept = body.add("Mul", [total, _write_exp(body, "keep", fall)], ["kept"])
        added = body.add("Mul", [with_one, _write_exp(body, "share", below)], ["added"])
        return [body.add("Add", [kept, added], ["sum_after"]), new_top]


def build(name: PoolName | Literal["auto"], *, width: int, both_ways: bool, carries: bool) -> Pool:
    """The pool of this name, for a cell with an output of this width, or of two directions. Raises PoolError.

    `auto`: each direction at its own end, if there are two. `carries`: see `Pool`.
    """
    if name == "auto":
        name = "ends" if both_ways else "last"
    if name == "ends" and not both_ways:
        raise PoolError("the pool 'ends' needs a cell of two directions, such as bidirectional")
    pools: tuple[type[Pool], ...] = (Pool, Ends, Mean, Attention)
    return {pool.name: pool for pool in pools}[name](width, carries=carries)


def _running_sums(steps: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Of the steps up to each one: the sum of steps · exp(score - top), and top, the largest score.

    steps [batch, time, width], score [batch, time, 1]. Each round joins spans that are twice as long (Hillis,
    Steele 1986): with one top for all steps, the shares of early steps would be 0.
    """
    reach, top = 1, score
    while reach < steps.shape[1]:
        earlier = functional.pad(steps[:, :-reach], (0, 0, reach, 0))
        earlier_top = functional.pad(top[:, :-reach], (0, 0, reach, 0), value=LOWEST)
        highest = torch.maximum(top, earlier_top)
        steps = steps * (top - highest).exp() + earlier * (earlier_top - highest).exp()
        top, reach = highest, 2 * reach
    return steps, top


def _with_one(y: Tensor, lengths: Tensor) -> Tensor:
    """[y, 1] in float64 at true steps, zeros past them: [batch, time, width + 1]."""
    is_alive = torch.arange(y.shape[1], device=y.device) < lengths.to(y.device)[:, None]
    return torch.cat([y, torch.ones_like(y[..., :1])], dim=-1).double().masked_fill(~is_alive[..., None], 0)


def _pooled(total: Tensor, like: Tensor) -> Tensor:
    return (total[..., :-1] / total[..., -1:].clamp_min(torch.finfo(torch.float64).tiny)).to(like.dtype)


def _write_exp(body: Graph, name: str, x: str) -> str:
    """exp(x) of float64, computed in float32: ONNX Runtime's bits do not depend on the place of a number."""
    coarse = body.add("Cast", [x], [f"{name}_log"], to=TensorProto.FLOAT)
    return body.add("Cast", [body.add("Exp", [coarse], [f"{name}_coarse"])], [name], to=TensorProto.DOUBLE)


def _write_zeros(graph: Graph, name: str, y: str, width: int) -> str:
    """Zeros in float64 for each row of y [time, batch, …]: [batch, width]."""
    rows = graph.add("Shape", [y], [f"{name}_rows"], start=1, end=2)
    columns = graph.weight(f"{name}_width", np.array([width]))
    shape = graph.add("Concat", [rows, columns], [f"{name}_shape"], axis=0)
    zero = numpy_helper.from_array(np.zeros(1))
    return graph.add("ConstantOfShape", [shape], [f"{name}_start"], value=zero)
