"""What is counted and timed while the server runs, and how it is shown: Prometheus' text format, and spans.

It knows numbers and names. It does not know requests, sessions or models, nor any of the packages that count;
they are handed what they count with.
"""

from service.metrics.batching import Counts
from service.metrics.calls import Calls
from service.metrics.exposition import Workers, render
from service.metrics.loads import Loads
from service.metrics.metrics import Metrics
from service.metrics.registry import Counter, Gauge, Histogram, Registry
from service.metrics.requests import OTHER, Requests
from service.metrics.scrape import Scrape, Timed, VersionTotals
from service.metrics.sessions import SessionCounts
from service.metrics.shadows import Comparison, ShadowCounts
from service.metrics.totals import add_up
from service.metrics.tracing import RequestSpan, Tracer
from service.metrics.turns import Turns

__all__ = [
    "OTHER",
    "Calls",
    "Comparison",
    "Counter",
    "Counts",
    "Gauge",
    "Histogram",
    "Loads",
    "Metrics",
    "Registry",
    "RequestSpan",
    "Requests",
    "Scrape",
    "SessionCounts",
    "ShadowCounts",
    "Timed",
    "Tracer",
    "Turns",
    "VersionTotals",
    "Workers",
    "add_up",
    "render",
]
