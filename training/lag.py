"""Measures how far back recurrent cells learn from: gradients by lag, and the adding problem.

Gradients: the gradient of the last output with respect to the input this many steps before, relative to the
input of the last step (Hochreiter 1991; Bengio, Simard, Frasconi 1994). The adding problem (Hochreiter,
Schmidhuber 1997, experiment 4; in the form of Le, Jaitly, Hinton 2015): two numbers of a sequence are marked,
one anywhere in each half, and the target is their sum. A constant output of 1 has a mean square error of 1/6.
"""

import os
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
from training.markdown import wrap

CELLS = (
    *("rnn", "gru", "lstm", "residual", "article"),
    *("indrnn", "min_gru", "min_lstm", "sru", "qrnn"),
    *("slstm", "mlstm", "gla", "gated_delta", "cfc"),
)
FAINTEST = 1e-30  # smaller gradients count as equal
CHANCE, SOLVED = 1 / 6, 0.01  # mean square errors
BATCH, CHECK_EVERY = 64, 50
BEGIN, END = (
    "<!-- written by cellgate-train lag: begin -->\n",
    "<!-- written by cellgate-train lag: end -->\n",
)

Build = Callable[..., Cell]
Track = Callable[[Iterable["Adding"], int], Iterable["Adding"]]


class LagError(TrainingError):
    """The page has no marked section, or its other results were measured with other settings."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gradient(_Frozen):
    """A cell's gradient by lag."""

    cell: str
    layers: int
    norms: list[float]  # by lag, from 0; lag 0 is 1


class Adding(_Frozen):
    """The result of one training on the adding problem."""

    cell: str
    length: int
    updates: int  # until it was solved, or the limit
    error: float  # mean square, on new sequences
    norms: list[float]  # of the gradient after training, by lag from 0

    @property
    def is_solved(self) -> bool:
        """Whether the error is far below that of chance."""
        return self.error <= SOLVED


class Lags(_Frozen):
    """All results: the content of lag.json."""

    hidden: int
    most_updates: int
    gradients: list[Gradient]
    adding: list[Adding]

    @property
    def cells(self) -> list[str]:
        """The cells that were measured, in the order of the tables."""
        measured = {result.cell for result in self.adding}
        return [cell for cell in CELLS if cell in measured]


def gradient(
    cell: str, *, layers: int, steps: int, hidden: int = 64, seeds: int = 5, build: Build = cells.build
) -> Gradient:
    """Norms of d(v · y_T) / d x_(T - lag), for random v and normal x, relative to lag 0; means over seeds."""
    norms = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = build(cell, features=16, hidden=hidden, layers=layers)
        norms.append(_norms(network, torch.randn(8, steps, 16, requires_grad=True)))
    means = np.exp(np.log(norms).mean(axis=0))
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
    """Train one layer by Adam at 0.003, gradients clipped to 1, until solved or for `updates`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = cells.build(cell, features=2, hidden=hidden, layers=1)
    head = nn.Linear(network.width, 1)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)

    def error(count: int) -> Tensor:
        x, total = problem(length, count, generator)
        y, _ = network(x, torch.full((count,), length), network.initial_state(count))
        difference: Tensor = head(y[:, -1])[:, 0] - total
        return difference.square().mean()

    for update in range(1, updates + 1):
        optimiser.zero_grad()
        error(BATCH).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if update % CHECK_EVERY == 0 or update == updates:
            with torch.no_grad():
                remaining = float(error(1000))
            if remaining <= SOLVED:
                break
    x, _ = problem(length, BATCH, generator)
    norms = _norms(network, x.requires_grad_())
    return Adding(cell=cell, length=length, updates=update, error=remaining, norms=norms.tolist())


def measure(
    lengths: tuple[int, ...],
    *,
    updates: int,
    steps: int,
    hidden: int = 64,
    only: tuple[str, ...] = CELLS,
    track: Track = lambda rows, _: rows,
) -> Lags:
    """Measure cells with 1 and 4 layers, at all lengths; a cell that fails skips longer ones."""
    gradients = [
        gradient(cell, layers=layers, steps=steps, hidden=hidden) for layers in (1, 4) for cell in only
    ]

    def run() -> Iterable[Adding]:
        for cell in only:
            for length in lengths:
                result = adding(cell, length, updates=updates, hidden=hidden)
                yield result
                if not result.is_solved:
                    break

    results = list(track(run(), len(only) * len(lengths)))
    return Lags(hidden=hidden, most_updates=updates, gradients=gradients, adding=results)


def read_others(path: Path, only: tuple[str, ...], *, updates: int, steps: int, hidden: int) -> Lags | None:
    """The results in lag.json of the cells that are not measured again, or None. Raises LagError."""
    if set(CELLS) <= set(only) or not path.exists():
        return None
    old = Lags.model_validate_json(path.read_bytes())
    theirs = (old.most_updates, len(old.gradients[0].norms), old.hidden)
    if theirs != (updates, steps, hidden):
        options = "--updates {} --steps {} --hidden {}".format(*theirs)
        raise LagError(f"{path}: the other cells were measured with {options}; use these, or another folder")
    return Lags(
        hidden=hidden,
        most_updates=updates,
        gradients=[one for one in old.gradients if one.cell not in only],
        adding=[one for one in old.adding if one.cell not in only],
    )


def joined(others: Lags, measured: Lags) -> Lags:
    """All results in one, in the order of the tables."""
    gradients, adding = others.gradients + measured.gradients, others.adding + measured.adding
    return Lags(
        hidden=measured.hidden,
        most_updates=measured.most_updates,
        gradients=sorted(gradients, key=lambda one: (one.layers, CELLS.index(one.cell))),
        adding=sorted(adding, key=lambda one: (CELLS.index(one.cell), one.length)),
    )


def write(lags: Lags) -> str:
    """The tables, as Markdown."""
    longest = len(lags.gradients[0].norms) - 1
    lags_shown = [lag for lag in (10, 50, 100, 200) if lag < longest] + [longest]
    lengths = sorted({result.length for result in lags.adding})
    rows = [["cell", *(f"lag {lag}" for lag in lags_shown)], ["---"] * (1 + len(lags_shown))]
    for curve in lags.gradients:
        rows.append([name_of(curve), *(_short(curve.norms[lag]) for lag in lags_shown)])
    by_cell = {(result.cell, result.length): result for result in lags.adding}
    sums = [["cell", *(f"{length} steps" for length in lengths)], ["---"] * (1 + len(lengths))]
    sums += [[cell, *(_outcome(by_cell.get((cell, length))) for length in lengths)] for cell in lags.cells]
    return wrap(f"""The gradient of **untrained** networks of {lags.hidden} units, relative to lag 0:

{_table(rows)}
The **adding problem**, one layer of {lags.hidden} units, at most {lags.most_updates:,} updates of {BATCH}
sequences. The table has the number of updates until it was solved (a mean square error of at most {SOLVED:g};
chance is {CHANCE:.3f}), or the remaining error; and the gradient at the first step after training. A cell
that fails at a length is not trained on longer ones.

{_table(sums)}
![gradients by lag, before and after learning](lag.png)
![the adding problem](adding.png)
""")


def name_of(curve: Gradient) -> str:
    """The name of a row or a line: the cell, and its layers if there are several."""
    return curve.cell if curve.layers == 1 else f"{curve.cell}, {curve.layers} layers"


def longest_solved(adding: list[Adding], cell: str) -> Adding:
    """The longest problem that a cell solved; if it solved none, its first."""
    results = [result for result in adding if result.cell == cell]
    solved = [result for result in results if result.is_solved]
    return max(solved or results[:1], key=lambda result: result.length)


def check_page(page: Path) -> None:
    """Raise LagError unless the page can be written and has one marked section."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise LagError(
            f"{page}: expected the lines {BEGIN.strip()} and {END.strip()}, once each, in this order"
        )
    if not os.access(page, os.W_OK):
        raise LagError(f"{page}: cannot be written")


def write_page(page: Path, lags: Lags) -> None:
    """Replace the marked section of a page by the tables. Raises LagError."""
    check_page(page)
    text = page.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}{write(lags)}{END}{after}")


def _outcome(result: Adding | None) -> str:
    if result is None:
        return ""
    outcome = f"**{result.updates:,}**" if result.is_solved else f"no, {result.error:.3f}"
    return f"{outcome}; {_short(result.norms[-1])}"


def _short(norm: float) -> str:
    return f"{norm:.2g}" if norm > 2 * FAINTEST else f"< {FAINTEST:g}"


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
