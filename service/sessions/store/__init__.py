"""Stores of sessions: one interface, `Store`, and one file for each kind of storage.

A store knows records, revisions and bounds. It does not know models, requests or when a retry is safe.
"""

from service.sessions.store.base import Outcome, Store, Write
from service.sessions.store.record import Record, Status
from service.sessions.store.room import Limits, Quota

__all__ = ["Limits", "Outcome", "Quota", "Record", "Status", "Store", "Write"]
