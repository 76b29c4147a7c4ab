"""Lists of live sessions, a page at a time. Knows keys and records; nothing of what a session is made of."""

from dataclasses import dataclass

from service.sessions import rules
from service.sessions.rules import session_key
from service.sessions.sessions import Sessions
from service.sessions.store.base import tenant_of
from service.sessions.store.record import Record

MAX_SCANNED = 10  # pages of the store read for one page of a single model's sessions


@dataclass(slots=True, frozen=True)
class Page:
    """Some live sessions in order of name; `next` is the last name read, None at the end."""

    sessions: list[tuple[str, Record]]
    next: str | None


async def read_page(sessions: Sessions, tenant: str, *, after: str, limit: int, model: str | None) -> Page:
    """Up to `limit` live sessions with a name greater than `after`, of one model or of all.

    A page may have fewer sessions, even none, although more follow: `next` tells.
    """
    prefix = session_key(tenant, "")
    now_ms = sessions.now_ms()
    page: list[tuple[str, Record]] = []
    for _ in range(MAX_SCANNED):
        scanned = await sessions.scan(prefix, session_key(tenant, after), limit)
        for key, record in scanned:
            after = key[len(prefix) :].decode()
            if rules.is_live(record, now_ms) and model in (None, record.model):
                page.append((after, record))
                if len(page) == limit:
                    return Page(page, after)
        if len(scanned) < limit:
            return Page(page, None)
    return Page(page, after)


async def read_tenants(sessions: Sessions, limit: int) -> list[str]:
    """Up to `limit` tenants that have sessions, in order of name; each costs one read of the store."""
    names: list[str] = []
    after = b""
    while len(names) < limit and (first := await sessions.scan(b"", after, 1)):
        tenant = tenant_of(first[0][0])
        if not rules.is_shadow_key(tenant):
            names.append(tenant.decode())
        after = tenant + b"\0\xff"  # beyond all its sessions, whose names are ASCII
    return names
