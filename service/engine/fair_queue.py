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
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

from service.sequence import Origin, Sequence

START = 8  # a sequence costs about as much as so many steps in a full call, in addition to its own


@dataclass(slots=True)
class Share:
    """What one tenant has in the queue."""

    waiting: int = 0  # sequences
    requests: int = 0
    work: int = 0
    singles: int = 0  # requests with one sequence
    single_work: int = 0


@dataclass(slots=True)
class _Row:
    """The sequences of one request."""

    last: float  # the latest tag
    waiting: int = 0


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

    def push(self, sequence: Sequence, most: float) -> None:
        """Queue a new sequence, at most `most` of virtual time behind the clock or its request's last one."""
        origin = sequence.origin
        if origin.num_sequences == 1:
            share = self._count(sequence)
            tag = self.clock + min((len(sequence.inputs[0]) + START) * share.requests, most)
        else:
            row = self._rows.get(origin)
            start = self.clock if row is None or row.last < self.clock else row.last
            share = self._count(sequence)
            tag = start + min((len(sequence.inputs[0]) + START) * share.requests, most)
            self._rows[origin].last = tag
        sequence.tag = tag
        sequence.number = number = next(self._arrivals)
        heappush(self._heap, (tag, number, sequence))

    def requeue(self, sequence: Sequence) -> None:
        """Queue a sequence again, after a chunk, at its old place."""
        self._count(sequence)
        self.put_back(sequence)

    def first(self) -> Sequence:
        """The sequence that is next. The queue must not be empty."""
        return self._heap[0][2]

    def take(self) -> Sequence:
        """Take the sequence that is next. It counts as waiting until `leave`, or is put back."""
        return heappop(self._heap)[2]

    def put_back(self, sequence: Sequence) -> None:
        """Return a sequence that was taken, and still counts as waiting."""
        heappush(self._heap, (sequence.tag, sequence.number, sequence))

    def leave(self, sequence: Sequence) -> None:
        """A sequence that was taken waits no longer."""
        origin = sequence.origin
        share = self._shares[origin.tenant]
        done = sequence.done
        work = len(sequence.inputs[0]) - done if done else len(sequence.inputs[0]) + START
        self.work -= work
        share.work -= work
        share.waiting -= 1
        if origin.num_sequences > 1:
            row = self._rows[origin]
            row.waiting -= 1
            if row.waiting:
                return
            del self._rows[origin]
        else:
            share.singles -= 1
            share.single_work -= work
        share.requests -= 1
        if not share.requests:
            self.num_tenants -= 1

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

    def _count(self, sequence: Sequence) -> Share:
        origin = sequence.origin
        share = self._shares.get(origin.tenant) or self.share_of(sequence)
        done = sequence.done
        work = len(sequence.inputs[0]) - done if done else len(sequence.inputs[0]) + START
        self.work += work
        share.work += work
        share.waiting += 1
        if origin.num_sequences > 1:
            row = self._rows.get(origin)
            if row is not None:
                row.waiting += 1
                return share
            self._rows[origin] = _Row(sequence.tag, 1)
        else:
            share.singles += 1
            share.single_work += work
        share.requests += 1
        if share.requests == 1:
            self.num_tenants += 1
        return share
