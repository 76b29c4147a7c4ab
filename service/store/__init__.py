"""Where sessions live. One interface, `Store`; one file per place."""

from service.store.base import Limits, Outcome, Stats, Store, Write
from service.store.record import Record, Status

__all__ = ["Limits", "Outcome", "Record", "Stats", "Status", "Store", "Write"]
