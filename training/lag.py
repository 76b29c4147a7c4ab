"""How far back a recurrent network learns from: gradients by lag, and the adding problem at growing lengths.

Gradients: how much the last output changes with the input so many steps before, relative to the input of the
last step (Hochreiter 1991; Bengio, Simard, Frasconi 1994). The adding problem (Hochreiter, Schmidhuber 1997,
experiment 4; in the form of Le, Jaitly, Hinton 2015): of a sequence of numbers two are marked, anywhere in
either half, and their sum is asked for at the end. Who always says 1 has a mean square error of 1/6.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from training import cells
from training.cells.cell import Cell
from training.errors import TrainingError

CELLS = ("rnn", "gru", "lstm", "residual", "article")
FAINTEST = 1e-30  # smaller gradients are not told apart
CHANCE, SOLVED = 1 / 6, 0.01  # mean square errors
BATCH, CHECK_EVERY = 64, 50
BEGIN, END = (
    "<!-- written by cellgate-train lag: begin -->\n",
    "<!-- written by cellgate-train lag: end -->\n",
)

Track = Callable[[Iterable["Adding"], int], Iterable["Adding"]]


class LagError(TrainingError):
    """The page has no place for the table."""


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gradient(_Kept):
    """How a cell's gradient goes with the lag."""

    cell: str
    layers: int
    norms: list[float]  # by lag, from 0; lag 0 is 1


class Adding(_Kept):
    """One training on the adding problem."""

    cell: str
    length: int
    updates: int  # until it was solved, or all that were allowed
    error: float  # mean square, on sequences not seen before
    norms: list[float]  # of the gradient after it, by lag from 0

    @property
    def is_solved(self) -> bool:
        """Whether the error is far below that of chance."""
        return self.error <= SOLVED


class Lags(_Kept):
    """All of it, as it is kept beside the page."""

    hidden: int
    most_updates: int
    gradients: list[Gradient]
    adding: list[Adding]


def gradient(cell: str, *, layers: int, steps: int, hidden: int = 64, seeds: int = 5) -> Gradient:
    """Norms of d(v · y_T) / d x_(T - lag), for random v and normal x, relative to lag 0; means over seeds."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = cells.build(cell, features=16, hidden=hidden, layers=layers)
        found.append(_norms(network, torch.randn(8, steps, 16, requires_grad=True)))
    means = np.exp(np.log(found).mean(axis=0))
    return Gradient(cell=cell, layers=layers, norms=means.tolist())


def _norms(network: Cell, x: Tensor) -> NDArray[np.float64]:
    """Of the gradient of v · y_T, v random, by lag; means over the batch, relative to lag 0."""
    y, _ = network(x, torch.full((len(x),), x.shape[1]), network.initial_state(len(x)))
    (y[:, -1] * torch.randn(len(x), network.width)).sum().backward()
    assert x.grad is not None
    norms = x.grad.double().norm(dim=2).mean(dim=0).flip(0).numpy()
    relative: NDArray[np.float64] = np.maximum(norms / norms[0], FAINTEST)
    return relative


def problem(length: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences [count, length, 2] of values and marks, and the sums [count] of the two marked values."""
    values = torch.rand(count, length, generator=generator)
    half = length // 2
    first = torch.randint(0, half, (count,), generator=generator)
    second = torch.randint(half, length, (count,), generator=generator)
    marks = torch.zeros(count, length)
    rows = torch.arange(count)
    marks[rows, first] = marks[rows, second] = 1
    return torch.stack([values, marks], dim=2), values[rows, first] + values[rows, second]


def adding(cell: str, length: int, *, updates: int, hidden: int = 64, seed: int = 0) -> Adding:
    """Train one layer by Adam at 0.003, gradients clipped to 1, until it is solved or updates are spent."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = cells.build(cell, features=2, hidden=hidden, layers=1)
    head = nn.Linear(network.width, 1)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)

    def error(count: int) -> Tensor:
        x, total = problem(length, count, generator)
        y, _ = network(x, torch.full((count,), length), network.initial_state(count))
        away: Tensor = head(y[:, -1])[:, 0] - total
        return away.square().mean()

    for update in range(1, updates + 1):
        optimiser.zero_grad()
        error(BATCH).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if update % CHECK_EVERY == 0 or update == updates:
            with torch.no_grad():
                found = float(error(1000))
            if found <= SOLVED:
                break
    x, _ = problem(length, BATCH, generator)
    norms = _norms(network, x.requires_grad_())
    return Adding(cell=cell, length=length, updates=update, error=found, norms=norms.tolist())


def measure(
    lengths: tuple[int, ...],
    *,
    updates: int,
    steps: int,
    hidden: int = 64,
    track: Track = lambda rows, _: rows,
) -> Lags:
    """All cells, shallow and deep, and all lengths. Who fails at a length is not asked for a longer one."""
    gradients = [
        gradient(cell, layers=layers, steps=steps, hidden=hidden) for layers in (1, 4) for cell in CELLS
    ]

    def run() -> Iterable[Adding]:
        for cell in CELLS:
            for length in lengths:
                found = adding(cell, length, updates=updates, hidden=hidden)
                yield found
                if not found.is_solved:
                    break

    done = list(track(run(), len(CELLS) * len(lengths)))
    return Lags(hidden=hidden, most_updates=updates, gradients=gradients, adding=done)


def write(lags: Lags) -> str:
    """The tables, as Markdown."""
    longest = len(lags.gradients[0].norms) - 1
    lags_shown = [lag for lag in (10, 50, 100, 200) if lag < longest] + [longest]
    lengths = sorted({found.length for found in lags.adding})
    rows = [["cell", *(f"lag {lag}" for lag in lags_shown)], ["---"] * (1 + len(lags_shown))]
    for found in lags.gradients:
        name = found.cell if found.layers == 1 else f"{found.cell}, {found.layers} layers"
        rows.append([name, *(_short(found.norms[lag]) for lag in lags_shown)])
    by_cell = {(found.cell, found.length): found for found in lags.adding}
    sums = [["cell", *(f"{length} steps" for length in lengths)], ["---"] * (1 + len(lengths))]
    sums += [[cell, *(_outcome(by_cell.get((cell, length))) for length in lengths)] for cell in CELLS]
    return f"""The gradient of **untrained** networks of {lags.hidden} units, relative to lag 0:

{_table(rows)}
The **adding problem**, one layer of {lags.hidden} units, at most {lags.most_updates:,} updates of {BATCH}
sequences. The table has the updates after which it was solved (a mean square error of at most {SOLVED:g},
where chance has {CHANCE:.3f}), or the error that was left, and the gradient at the first step after that.
Who fails is not asked for longer ones.

{_table(sums)}
![gradients by lag, before and after learning](lag.png)
![the adding problem](adding.png)
"""


def shown(adding: list[Adding], cell: str) -> Adding:
    """What a cell's gradient is drawn after: the longest problem that it solved, or else its first."""
    tried = [found for found in adding if found.cell == cell]
    solved = [found for found in tried if found.is_solved]
    return max(solved or tried[:1], key=lambda found: found.length)


def put(page: Path, lags: Lags) -> None:
    """Write the tables between the marks in a page. Raises LagError."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise LagError(f"{page}: expected the lines {BEGIN.strip()} and {END.strip()}, once each")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}{write(lags)}{END}{after}")


def _outcome(found: Adding | None) -> str:
    if found is None:
        return ""
    what = f"**{found.updates:,}**" if found.is_solved else f"no, {found.error:.3f}"
    return f"{what}; {_short(found.norms[-1])}"


def _short(norm: float) -> str:
    return f"{norm:.2g}" if norm > 2 * FAINTEST else f"< {FAINTEST:g}"


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
