"""Moves all sessions of a model to one of its versions, as far as the layouts of their states agree."""

from service.errors import CellgateError, SessionGone, StoreUnavailable, UnknownSession
from service.sessions.resources import Resources
from service.sessions.rules import is_shadow_key


async def migrate_all(resources: Resources, model: str, version: str) -> tuple[int, int]:
    """Move the live sessions of a model, of every tenant: how many moved, and how many could not.

    Raises StoreUnavailable; those moved before stay moved.
    """
    moved = kept = 0
    after = b""
    while page := await resources.scan(after):
        after = page[-1][0]
        for key, record in page:
            if record.model != model or record.version == version or is_shadow_key(key):
                continue
            tenant, _, name = key.decode().partition("\0")
            try:
                await resources.migrate(tenant, name, version)
                moved += 1
            except (UnknownSession, SessionGone):
                pass  # it has ended meanwhile
            except StoreUnavailable:
                raise
            except CellgateError:
                kept += 1
    return moved, kept
