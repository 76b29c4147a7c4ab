"""Which loaded versions of a model answer which requests, as all workers have agreed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, frozen=True)
class Choice:
    """What follows from a model's policy and from the versions that every worker has."""

    default: str | None = None  # None: there is none that could be
    wanted: str | None = None  # the version of a policy that names one; it may have to be waited for
    aliases: Mapping[str, str] = field(default_factory=dict)
    canary: str | None = None
    weight: float = 0.0  # of the canary: the share of new sessions
    shadow: str | None = None
    is_unloaded: bool = False
    is_unknown: bool = False  # its policy has never been readable: no version answers that is not named

    @property
    def named(self) -> set[str | None]:
        """The versions that are in use, also if their folders were deleted."""
        return {self.default, self.canary, self.shadow, *self.aliases.values()}


class Agreed(NamedTuple):
    """A choice on which all workers have agreed. Until `at` the one before holds."""

    current: Choice
    previous: Choice = Choice()
    at: float = 0.0  # on the monotonic clock, which all processes share: from when `current` holds


def is_in_canary(weight: float, model: str, tenant: str, session: str) -> bool:
    """Whether a new session starts on the canary: the same everywhere, for every retry.

    A session that is in at one weight is in at every greater one.
    """
    digest = hashlib.blake2b("\0".join((model, tenant, session)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) < weight * 2**64
