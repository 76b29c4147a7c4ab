"""Settings, read once at start: one class for each group of them, and the sources that they come from.

It knows names, bounds and defaults, and what follows from the machine's CPUs and memory; it knows nothing of
the parts that the settings are passed to.
"""

from service.settings.settings import GROUPS, MAX_AUTO_WORKERS, Settings
from service.settings.sources import PREFIX

__all__ = ["GROUPS", "MAX_AUTO_WORKERS", "PREFIX", "Settings"]
