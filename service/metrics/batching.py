"""Counts of the steps that engine calls computed."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """The steps of all engine calls so far; the sampler copies them into the metrics."""

    steps: int = 0  # true time steps
    padded_steps: int = 0  # computed in addition, because the rows of a call end at different steps

    def add(self, *, rows: int, longest: int, steps: int) -> None:
        """Count one call of `rows` sequences that computed `longest` steps each, `steps` of them true."""
        self.steps += steps
        self.padded_steps += rows * longest - steps
