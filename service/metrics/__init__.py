"""What is counted and timed while the server runs, and how it is shown: Prometheus' text format.

It knows numbers and names. It does not know requests, sessions or models, nor any of the packages that count;
they are handed what they count with.
"""

from service.metrics.batching import Counts
from service.metrics.exposition import Workers, render
from service.metrics.metrics import Metrics
from service.metrics.registry import Counter, Gauge, Histogram, Registry
from service.metrics.turns import Turns

__all__ = ["Counter", "Counts", "Gauge", "Histogram", "Metrics", "Registry", "Turns", "Workers", "render"]
