"""How many requests per second each tenant may make, over all workers of a server."""

import mmap
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from service import shared_memory
from service.errors import RateLimited

BURST_S = 1.0
ROUNDING_S = 1e-6  # of sums of intervals
_TIME = struct.Struct("<d")


class Rates:
    """One number per tenant, in memory that the workers share.

    The generic cell rate algorithm (ITU-T I.371): each request moves a tenant's time of next conforming
    arrival forward by 1 / rate, and that time may be ahead of the clock by `BURST_S`. Two workers that
    move it in the same microsecond count one request instead of two.
    """

    def __init__(
        self,
        rates: Mapping[str, float],
        file: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rates`: requests per second by tenant. `file`: shared by all workers; None: this process alone."""
        self._clock = clock  # the same in every process of a host
        self._slots = {
            name: (place * _TIME.size, 1 / rate) for place, (name, rate) in enumerate(rates.items())
        }
        size = max(1, len(rates)) * _TIME.size
        self._memory = mmap.mmap(-1, size) if file is None else shared_memory.open_memory(file, size)

    def counter(self, tenant: str) -> Callable[[], None] | None:
        """`count` for one tenant; None: it has no limit."""
        return partial(self.count, tenant) if tenant in self._slots else None

    def count(self, tenant: str) -> None:
        """Count a request. Raises RateLimited, and then counts nothing."""
        slot = self._slots.get(tenant)
        if slot is None:
            return
        place, interval = slot
        now = self._clock()
        due = max(now, _TIME.unpack_from(self._memory, place)[0])
        if due - now > max(BURST_S - interval, 0.0) + ROUNDING_S:
            raise RateLimited(
                f"more than {1 / interval:g} requests per second", retry_after_s=max(1, round(due - now))
            )
        _TIME.pack_into(self._memory, place, due + interval)
