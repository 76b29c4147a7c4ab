"""The order of waiting sequences: weighted fair queueing by tenant, then by request, then by age.

Each sequence gets a tag when it arrives, and the smallest tag is next:

    tag = start + work · (requests of its tenant that wait)       start: the clock, or, within a request,
    clock advances by (work of each call) / (tenants that wait)          the tag of the sequence before it

The clock is the virtual time of Demers, Keshav and Shenker (1989): in it, each tenant, and within it each
request, gets the same share of the work. A sequence that arrives after the clock has passed a tag cannot
precede that tag. So no flood of newcomers, and no request of a thousand sequences, delays a sequence beyond
its share. Work is in steps, and `START` steps for the beginning of a sequence. Pure, and O(log n) a sequence.
"""

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

from service.sequence import Origin, Sequence

START = 8  # a sequence costs about as much as so many steps in a full call, in addition to its own


@dataclass(slots=True)
class Share:
    """What one tenant has in the queue, and in a call if it continues after its chunk."""

    requests: int = 0
    larger: int = 0  # requests with several sequences
    single_work: int = 0  # of requests with one sequence
    larger_work: int = 0
    larger_waiting: int = 0  # sequences

    @property
    def singles(self) -> int:
        """Requests with one sequence."""
        return self.requests - self.larger

    @property
    def waiting(self) -> int:
        """Sequences."""
        return self.requests - self.larger + self.larger_waiting

    @property
    def work(self) -> int:
        """Of all its sequences."""
        return self.single_work + self.larger_work


@dataclass(slots=True)
class _Row:
    """The sequences of one request."""

    last: float  # the latest tag
    waiting: int = 0
    work: int = 0


class FairQueue:
    """Sequences in the order of their tags; arrival breaks ties."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.work = 0  # of all that wait
        self.num_tenants = 0  # with sequences that wait
        self._heap: list[tuple[float, int, Sequence]] = []
        self._arrivals = itertools.count()
        self._shares: dict[str, Share] = {}  # as many as there are API keys' tenants
        self._rows: dict[Origin, _Row] = {}  # of requests with several sequences

    def __len__(self) -> int:
        return len(self._heap)

    def share_of(self, sequence: Sequence) -> Share:
        """What the tenant of a sequence has in the queue."""
        share = self._shares.get(sequence.origin.tenant)
        if share is None:
            share = self._shares[sequence.origin.tenant] = Share()
        return share

    def own_work(self, sequence: Sequence) -> int:
        """The work of those sequences of the same request that were queued before, and are not computed."""
        row = self._rows.get(sequence.origin) if sequence.origin.num_sequences > 1 else None
        return 0 if row is None else row.work

    def push(self, sequence: Sequence, most: float) -> None:
        """Queue a new sequence, at most `most` of virtual time behind the clock or its request's last one."""
        origin = sequence.origin
        work = len(sequence.inputs[0]) + START
        if origin.num_sequences > 1:
            self._push_of_larger(sequence, work, most)
            return
        share = self._shares.get(origin.tenant) or self.share_of(sequence)  # without calls, for speed
        share.single_work += work
        share.requests = requests = share.requests + 1
        if requests == 1:
            self.num_tenants += 1
        self.work += work
        ahead = work * requests
        sequence.tag = tag = self.clock + (ahead if ahead < most else most)
        sequence.number = number = next(self._arrivals)
        heappush(self._heap, (tag, number, sequence))

    def _push_of_larger(self, sequence: Sequence, work: int, most: float) -> None:
        """`push`, of a request with several sequences."""
        row = self._rows.get(sequence.origin)
        start = self.clock if row is None or row.last < self.clock else row.last
        self._count((sequence,), 1)
        sequence.tag = start + min(work * self.share_of(sequence).requests, most)
        sequence.number = next(self._arrivals)
        self._rows[sequence.origin].last = sequence.tag
        self.put_back(sequence)

    def requeue(self, sequences: Collection[Sequence]) -> None:
        """Queue sequences again, after a chunk, at their old places."""
        self._count(sequences, 1)
        for sequence in sequences:
            self.put_back(sequence)

    def take(self) -> Sequence | None:
        """Take the sequence that is next, if any. It counts as waiting until `leave`, or is put back."""
        return heappop(self._heap)[2] if self._heap else None

    def put_back(self, sequence: Sequence) -> None:
        """Return a sequence that was taken, and still counts as waiting."""
        heappush(self._heap, (sequence.tag, sequence.number, sequence))

    def leave(self, sequences: Collection[Sequence], work: int | None = None) -> None:
        """Sequences that were taken wait no longer. `work`: of all of them, if it is known already."""
        share = None if work is None else self._share_of_singles(sequences)
        if share is None or work is None:
            self._count(sequences, -1)
            return
        share.single_work -= work
        share.requests -= len(sequences)
        if not share.requests:
            self.num_tenants -= 1
        self.work -= work

    def _share_of_singles(self, sequences: Collection[Sequence]) -> Share | None:
        """The share of a batch in which each sequence is a request of the same tenant; else None."""
        if self.num_tenants == 1 and not self._rows:  # nothing else waits
            return next((self.share_of(sequence) for sequence in sequences), None)
        tenant = None
        for sequence in sequences:
            origin = sequence.origin
            if origin.num_sequences > 1 or (tenant is not None and origin.tenant != tenant):
                return None
            tenant = origin.tenant
        return None if tenant is None else self._shares[tenant]

    def advance(self, work: int, first: float) -> None:
        """Advance the clock by the work of one call. To be called before those that it takes leave.

        Never beyond `first`, the smallest tag that is not computed to its end: a newcomer would be put behind
        all of a backlog, beyond its share.
        """
        clock = min(self.clock + work / max(self.num_tenants, 1), first)
        if clock > self.clock:
            self.clock = clock

    @property
    def first_tag(self) -> float:
        """The smallest tag; infinite if nothing waits."""
        return self._heap[0][0] if self._heap else inf

    def hasten(self, most: float) -> None:
        """Move sequences that are more than `most` behind the clock forward; not those of a larger request.

        O(n): for when less virtual time passes in a second than was expected as they were queued.
        """
        latest = self.clock + most
        is_changed = False
        for tag, _, sequence in self._heap:
            if tag > latest and sequence.origin.num_sequences == 1:
                sequence.tag = latest
                is_changed = True
        if is_changed:
            self._heap = [(sequence.tag, number, sequence) for _, number, sequence in self._heap]
            heapify(self._heap)

    def _count(self, sequences: Collection[Sequence], sign: int) -> None:
        """Count sequences that wait from now on (1), or no longer (-1): of a batch in one call, for speed."""
        total, first_or_none = 0, 1 if sign > 0 else 0
        for sequence in sequences:
            origin, done = sequence.origin, sequence.done
            share = self._shares.get(origin.tenant) or self.share_of(sequence)
            left = len(sequence.inputs[0]) - done
            work = sign * (left if done else left + START)
            total += work
            if origin.num_sequences == 1:
                share.single_work += work
            else:
                share.larger_work += work
                share.larger_waiting += sign
                if not self._is_first_or_last(sequence, sign, work):
                    continue
                share.larger += sign
            share.requests += sign
            if share.requests == first_or_none:
                self.num_tenants += sign
        self.work += total

    def _is_first_or_last(self, sequence: Sequence, sign: int, work: int) -> bool:
        """Count a sequence of a larger request; whether it is the first (1), or the last (-1), of it."""
        row = self._rows.get(sequence.origin)
        if row is None:
            self._rows[sequence.origin] = _Row(sequence.tag, 1, work)
            return True
        row.waiting += sign
        row.work += work
        if not row.waiting:
            del self._rows[sequence.origin]
        return not row.waiting
