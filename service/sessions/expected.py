"""What a client believes of a live session that it changes, so that it undoes no other client's step.

    live record ─ check ─┬─→ the change
                         └─→ an error: 409, with the true step

Pure, as `rules`: they know records; they know no store, HTTP or JSON.
"""

from dataclasses import dataclass, replace
from typing import Self

from service.sessions import rules
from service.sessions.store.history import History
from service.sessions.store.record import Record


@dataclass(slots=True, frozen=True)
class Expected:
    """The step of a session, and how often it was rewound. None: any."""

    at: int | None = None
    rewinds: int | None = None

    @classmethod
    def of(cls, at: int | None, rewinds: int | None) -> Self | None:
        """None if a request says neither."""
        return None if at is None and rewinds is None else cls(at, rewinds)

    def check(self, live: Record) -> None:
        """Raises SessionConflict if the session is not as expected."""
        if self.rewinds is not None:
            rules.check_rewinds(live, self.rewinds)
        if self.at not in (None, live.step):
            raise rules.at_other_step(live, self.at)

    def replace(self, live: Record, new: Record) -> Record:
        """`new` in the place of a live session; or that session, if this very replacement has made it.

        It counts as a rewind: requests that name the number of rewinds from before are refused.
        Raises SessionConflict.
        """
        history = new.history or History()
        if self.rewinds in (None, live.rewinds - 1):
            again = replace(history, rewinds=live.rewinds)
            made = replace(
                new,
                history=None if again.is_empty else again,
                revision=live.revision,
                created_ms=live.created_ms,
                touched_ms=live.touched_ms,
            )
            if made == live:
                return live
        self.check(live)
        return replace(new, created_ms=live.created_ms, history=replace(history, rewinds=live.rewinds + 1))


def inherit(live: Record, new: Record, *, ttl: bool) -> Record:
    """`new` with the checkpoints before its step of the session that it replaces, perhaps its time to live.

    Checkpoints of another graph are not states of this one, and are not inherited.
    """
    inherited = replace(new, ttl_ms=live.ttl_ms if ttl else new.ttl_ms)
    is_same = (live.model, live.version, live.graph) == (new.model, new.version, new.graph)
    if is_same and live.history is not None:
        inherited.history = live.history.before(new.step)
    return inherited
