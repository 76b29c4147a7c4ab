"""How long the event loop's turns take: during one, the process answers no other client."""

import asyncio
import logging
from dataclasses import dataclass
from math import inf

REPORT_EVERY_S = 10.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Turns:
    """Counts long turns, by a timer that is due every `every_s` seconds and late by the turn before it.

    A turn counts if the timer was late by more than `limit_s`. It took as long as the timer was late, or up
    to `every_s` longer.
    """

    every_s: float = 0.02
    limit_s: float = 0.05
    num_long: int = 0
    longest_s: float = 0.0
    _reported: int = 0
    _reported_s: float = -inf

    async def watch(self) -> None:
        """Count until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            due_s = now() + self.every_s
            await asyncio.sleep(self.every_s)
            self.add(now() - due_s, now())

    def add(self, late_s: float, now_s: float) -> None:
        """Count how late the timer was; report a long turn, at most once in `REPORT_EVERY_S`."""
        if late_s <= self.limit_s:
            return
        self.num_long += 1
        self.longest_s = max(self.longest_s, late_s)
        if now_s - self._reported_s > REPORT_EVERY_S:
            logger.warning(
                "one turn of the event loop took %.0f ms or more; long turns since the last report: %d",
                late_s * 1000,
                self.num_long - self._reported,
            )
            self._reported, self._reported_s = self.num_long, now_s
