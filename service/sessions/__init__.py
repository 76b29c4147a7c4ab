"""Named sequences that continue over many requests: their rules, turns, records and stores.

The package knows records, the step count, versions of a state's graph, stores and the session clock. It does
not know HTTP, JSON, models in memory or ONNX Runtime: a state is bytes, with the layout that a model names.
"""

from service.sessions.clock import SteadyClock
from service.sessions.expected import Expected
from service.sessions.exported import MEDIA_TYPE
from service.sessions.home import Home
from service.sessions.listing import Page
from service.sessions.migration import migrate_all
from service.sessions.resources import Resources
from service.sessions.rules import Binding, Opened, check_resumable, session_key, shadow_key
from service.sessions.sessions import Sessions
from service.sessions.store import Limits, Quota, Record, Store
from service.sessions.store.history import Checkpoint, History, HistoryLimits, HistoryRule
from service.sessions.token import MIN_SECRET_BYTES, StateToken, StateTokens, token_chars

__all__ = [
    "MEDIA_TYPE",
    "MIN_SECRET_BYTES",
    "Binding",
    "Checkpoint",
    "Expected",
    "History",
    "HistoryLimits",
    "HistoryRule",
    "Home",
    "Limits",
    "Opened",
    "Page",
    "Quota",
    "Record",
    "Resources",
    "Sessions",
    "StateToken",
    "StateTokens",
    "SteadyClock",
    "Store",
    "check_resumable",
    "migrate_all",
    "session_key",
    "shadow_key",
    "token_chars",
]
