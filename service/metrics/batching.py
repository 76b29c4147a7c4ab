"""Counts of engine calls: how many there were, and how well they were filled."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """What the engine calls so far were filled with."""

    calls: int = 0
    rows: int = 0
    steps: int = 0  # true time steps
    padded_steps: int = 0  # computed in addition, because the rows of a call end at different steps

    def add(self, *, rows: int, longest: int, steps: int) -> None:
        """Count one call of `rows` sequences that computed `longest` steps each, `steps` of them true."""
        self.calls += 1
        self.rows += rows
        self.steps += steps
        self.padded_steps += rows * longest - steps

    @property
    def occupancy(self) -> float:
        """Sequences per call, on average."""
        return self.rows / self.calls if self.calls else 0.0

    @property
    def padding(self) -> float:
        """The share of computed steps that was padding."""
        computed = self.steps + self.padded_steps
        return self.padded_steps / computed if computed else 0.0
