"""Counts what happens to sessions, and times the operations of their store."""

from service.metrics.metrics import Metrics

EVENTS = ("created", "ended", "expired", "evicted", "conflict", "replay", "lost_race")
OPERATIONS = ("get", "commit", "scan", "sweep")


class SessionCounts:
    """A counter for each event, and an observer for each operation: `counts.replay.add()`."""

    def __init__(self, metrics: Metrics) -> None:
        self.created, self.ended, self.expired, self.evicted, self.conflict, self.replay, self.lost_race = (
            metrics.session_events.labels(event) for event in EVENTS
        )
        self.observe_get, self.observe_commit, self.observe_scan, self.observe_sweep = (
            metrics.store_seconds.labels(operation).observe for operation in OPERATIONS
        )
