"""How many sequences share a call: fewer fit into the processor's cache, more share the reading of weights.

Which is faster depends on the graph and the processor, so the first blocks try sizes in turn. It knows time
and sizes; it knows nothing of models. Answers do not depend on it.
"""

from itertools import cycle, islice

ROUNDS = 2  # of all sizes


class BatchSize:
    """The size of the next block's calls, at most `most`."""

    def __init__(self, most: int) -> None:
        sizes = [max(1, most // 2), most]
        self._left = list(islice(cycle(sizes), ROUNDS * len(sizes)))
        self._best: tuple[float, int] = (float("inf"), most)  # seconds a step, and the size

    @property
    def next(self) -> int:
        """The size to use."""
        return self._left[0] if self._left else self._best[1]

    def measured(self, seconds: float, steps: int) -> None:
        """What the calls of a block of this size took."""
        if self._left:
            self._best = min(self._best, (seconds / steps, self._left.pop(0)))
