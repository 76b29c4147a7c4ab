"""What is counted and timed while the server runs: plain counters that other packages increment.

It knows numbers only. It does not know what is measured, where the numbers are shown, or any of the packages
that count; each of those owns its counters and hands them over when they are read.
"""

from service.metrics.batching import Counts
from service.metrics.turns import Turns

__all__ = ["Counts", "Turns"]
