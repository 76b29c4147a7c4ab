"""The Lua scripts that run inside Redis: each is one atomic, logged change of one shard.

The first line makes Redis refuse a script before it starts, not in the middle, when memory or disk is full or
the server is a read-only replica; it needs Redis 7 or Valkey. Scripts that free memory may run when it is
full.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from service.sessions.store.base import Outcome
from service.sessions.store.redis_library import CONSTANTS, FUNCTIONS


@dataclass(frozen=True)
class Script:
    """Its text, and the digest that names it on a server that has run it before."""

    text: str

    @cached_property
    def digest(self) -> str:
        """SHA-1, as EVALSHA takes it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


OUTCOMES = (Outcome.DONE, Outcome.CONFLICT, Outcome.FULL, Outcome.OVER_QUOTA)  # by the number in a reply

_WRITES = "#!lua\n"
_FREES = "#!lua flags=allow-oom\n"
_READS = "#!lua flags=no-writes\n"

# ARGV: now, the bounds of tombstones, max_sessions, max_bytes, min_idle; per write: key, expected revision,
# record, and its tenant's bounds on sessions and bytes (0: none). Empty revision: nothing there. Empty
# record: delete. Returns a number per write, an index into OUTCOMES.
_COMMIT = (
    f"""
local {", ".join(outcome.name for outcome in OUTCOMES)} = {", ".join(map(str, range(len(OUTCOMES))))}
"""
    + """
local max_sessions, max_bytes, min_idle = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function longest_idle_but(key)
  local oldest = redis.call('ZRANGE', idle, 0, 1, 'WITHSCORES')
  if oldest[1] == key then return oldest[3], tonumber(oldest[4]) end
  return oldest[1], tonumber(oldest[2])
end

-- The rules below are those of room.py.

-- Evict others until the new record fits in place of the old one; whether it does.
local function make_room(key, old, new)
  local size = live_size(new)
  if size == 0 then
    local _, max_size = own_bounds(tenant_of(key))
    return #new <= max_size
  end
  local old_size = live_size(old)
  while size > old_size and (tonumber(redis.call('GET', bytes) or 0) - old_size + size > max_bytes
      or (old_size == 0 and redis.call('ZCARD', idle) >= max_sessions)) do
    local victim, touched = longest_idle_but(key)
    if not victim or now - touched < min_idle then return false end
    end_session(victim, EVICTED)
  end
  return true
end

local function is_over_quota(key, old, size, max_sessions, max_bytes)
  if max_sessions == 0 then return false end
  local tenant, old_size = tenant_of(key), live_size(old)
  if old_size == 0 and tenant_total(tenant, 'sessions') >= max_sessions then return true end
  return size > old_size and tenant_total(tenant, 'bytes') - old_size + size > max_bytes
end

local function write(key, expected, new, max_sessions, max_bytes)
  local old = redis.call('HGET', records, key)
  -- No two writes have the same revision: if ours is there, this command was sent before and its reply lost.
  if new and revision(old) == revision(new) then return DONE end
  if revision(old) ~= expected then return CONFLICT end
  -- Redis may have evicted the records alone. The session must not begin anew without its client's consent.
  if new and not old and end_lost_session(key) then return CONFLICT end
  if live_size(new) > 0 and is_over_quota(key, old, #new, max_sessions, max_bytes) then return OVER_QUOTA end
  if new and (deletes_only or not make_room(key, old, new)) then return FULL end
  replace(key, old, new)
  return DONE
end

local outcomes = {}
for i = 9, #ARGV, 5 do
  outcomes[#outcomes + 1] = write(
    ARGV[i], ARGV[i + 1], ARGV[i + 2] ~= '' and ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  )
end
return outcomes
"""
)

# ARGV: now, the bounds of tombstones, limit. Returns the number of expired sessions.
_SWEEP = """
local expired = redis.call('ZRANGEBYSCORE', expiry, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[6])
for _, key in ipairs(expired) do end_session(key, EXPIRED) end
return #expired
"""

# ARGV: lower and upper bound as ZRANGEBYLEX takes them, limit. Returns key, record, key, record, …
_SCAN = """
local page = {}
for _, key in ipairs(redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
  page[#page + 1] = key
  page[#page + 1] = redis.call('HGET', records, key) or ''
end
return page
"""

COMMIT = Script(_WRITES + "local deletes_only = false\n" + CONSTANTS + FUNCTIONS + _COMMIT)
DELETE = Script(_FREES + "local deletes_only = true\n" + CONSTANTS + FUNCTIONS + _COMMIT)
SWEEP = Script(_FREES + CONSTANTS + FUNCTIONS + _SWEEP)
SCAN = Script(_READS + CONSTANTS + _SCAN)
