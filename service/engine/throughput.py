"""The work per second that a worker achieves while sequences wait, everything between its calls included.

The cost model knows engine calls. A loaded worker also decodes, encodes, commits, and refuses what it cannot
do; so what waits takes longer than its calls. Pure: the caller reads the clock.
"""

WINDOW_S = 0.1  # the shortest time over which it is measured,
FIRST_WINDOW_S = 0.02  # and for the first time
SMOOTHING = 0.2  # weight of the newest window
DEVIATIONS = 4.0  # on the safe side: a queue that is refused too early keeps the worker busy all the same
MAX_RISE = 2.0  # of one window over the average; more must be seen twice
FIRST_SLOWNESS = 4.0  # the most that the first window can exceed its calls by


class Throughput:
    """Seconds that a unit of work takes, over windows in which the queue was never empty.

    As TCP estimates a round trip (RFC 6298): a moving average, and one of the deviation from it. One window
    in which the process stood still, because other processes had the CPU, says little about the next: only a
    second one in a row is believed.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None  # for one unit, on the safe side; None until the first window ends
        self.slowness = 1.0  # the time that passed for each second of engine calls
        self._average = 0.0
        self._deviation = 0.0
        self._last = 0.0  # the window before
        self._since: float | None = None
        self._done = 0
        self._calls_s = 0.0

    def add(self, work: int, seconds: float) -> None:
        """Count a call: the work that it did, and how long it takes by the cost model."""
        self._done += work
        self._calls_s += seconds

    def tick(self, now: float) -> bool:
        """Sequences wait, at `now` (s). Ends the window if it is long enough; returns whether it did."""
        if self._since is None:
            self._begin(now)
            return False
        if now - self._since >= (FIRST_WINDOW_S if self.seconds is None else WINDOW_S) and self._done:
            elapsed_s = now - self._since
            if self._calls_s:
                self.slowness += SMOOTHING * (max(1.0, elapsed_s / self._calls_s) - self.slowness)
            self._observe(elapsed_s / self._done, self._calls_s / self._done)
            self._begin(now)
            return True
        return False

    def forget(self) -> None:
        """No sequence waits: what was achieved under load says nothing about the next one."""
        self.seconds = self._since = None
        self.slowness = 1.0

    def _begin(self, now: float) -> None:
        self._since, self._done, self._calls_s = now, 0, 0.0

    def _observe(self, seconds: float, calls_s: float) -> None:
        """Learn from a window: seconds for one unit of work, and of its calls alone."""
        last, self._last = self._last, seconds
        if self.seconds is None:
            self._average = min(seconds, FIRST_SLOWNESS * calls_s) if calls_s else seconds
            self._deviation = self._average / 4
        else:
            seconds = min(seconds, max(last, MAX_RISE * self._average))
            self._deviation += SMOOTHING * (abs(seconds - self._average) - self._deviation)
            self._average += SMOOTHING * (seconds - self._average)
        self.seconds = self._average + DEVIATIONS * self._deviation
