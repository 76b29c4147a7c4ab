"""Where sessions live. One interface, `Store`; one file per place."""

from service.sessions.store.base import Limits, Outcome, Quota, Stats, Store, Write
from service.sessions.store.record import Record, Status

__all__ = ["Limits", "Outcome", "Quota", "Record", "Stats", "Status", "Store", "Write"]
