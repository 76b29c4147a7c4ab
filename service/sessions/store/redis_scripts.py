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
# record: delete. Returns a number per write, an index into OUTCOMES; then the number of evicted sessions.
_COMMIT = (
    f"""
local {", ".join(outcome.name for outcome in OUTCOMES)} = {", ".join(map(str, range(len(OUTCOMES))))}
"""
    + """
local num_evicted = 0
local max_sessions, max_bytes, min_idle = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

-- The longest idle session of no tenant but `key`, and when it was last used. Unless there are tenants too,
-- it is one of the first two.
local function longest_idle_of_none(key)
  for _, last in ipairs({1, 999}) do
    local page = redis.call('ZRANGE', idle, 0, last, 'WITHSCORES')
    for i = 1, #page, 2 do
      if page[i] ~= key and tenant_of(page[i]) == '' then return page[i], tonumber(page[i + 1]) end
    end
  end
end

-- The same of a tenant. Older servers write no `queues`, so an entry may be wrong, or missing. The entry of a
-- damaged record is trusted.
local function longest_idle_of(tenant, but)
  local from, to = '[' .. tenant .. '\\0', '(' .. tenant .. '\\1'
  for attempt = 1, 100 do
    local page = redis.call('ZRANGEBYLEX', queues, from, to, 'LIMIT', 0, 2)
    for _, entry in ipairs(page) do
      local key = tenant .. '\\0' .. entry:sub(#tenant + 10)
      local packed = redis.call('HGET', records, key)
      local is_damaged = packed and not is_whole(key, packed)
      local right = is_damaged and entry or queue_entry(key, packed)
      if right ~= entry then
        redis.call('ZREM', queues, entry)
        if right then redis.call('ZADD', queues, 0, right) end
        break
      end
      if key ~= but then
        return key, is_damaged and struct.unpack('>I8', entry, #tenant + 2) * 1000 or touched_of(packed)
      end
      if #page == 1 then return nil end
    end
    if #page == 0 then
      if attempt > 1 then return nil end
      for _, key in ipairs(redis.call('ZRANGEBYLEX', names, from, to, 'LIMIT', 0, 1000)) do
        local entry = queue_entry(key, redis.call('HGET', records, key))
        if entry then redis.call('ZADD', queues, 0, entry) end
      end
    end
  end
end

-- The rules below are those of room.py.

-- What each tenant holds of what is short, with the write for which there is no room; the number of tenants;
-- the sum.
local function holdings(writer, is_number, added)
  local held, number = {}, 0
  local rest = tonumber(is_number and redis.call('ZCARD', idle) or redis.call('GET', bytes) or 0)
  local total = rest + added
  local fields = redis.call('HGETALL', tenants)
  for i = 1, #fields, 2 do
    local tenant, field = fields[i]:match('^([^%z]+)%z(%a+)$')
    if field == (is_number and 'sessions' or 'bytes') then
      held[tenant] = tonumber(fields[i + 1])
      rest = rest - held[tenant]
    end
  end
  held[''] = rest
  held[writer] = (held[writer] or 0) + added
  for tenant, amount in pairs(held) do
    if amount > 0 then number = number + 1 else held[tenant] = nil end
  end
  return held, number, total
end

-- The tenants that may lose a session, in order.
local function tenants_to_evict_from(writer, old_size, size)
  local is_number = old_size == 0 and redis.call('ZCARD', idle) >= max_sessions
  local held, number, total = holdings(writer, is_number, is_number and 1 or size - old_size)
  local capacity = is_number and max_sessions or math.min(max_bytes, total - 1)
  local chosen = {}
  for tenant, amount in pairs(held) do
    if tenant == writer or amount * number > capacity then chosen[#chosen + 1] = tenant end
  end
  table.sort(chosen, function(a, b)
    if held[a] ~= held[b] then return held[a] > held[b] end
    if a == writer or b == writer then return a == writer and b ~= writer end
    return a < b
  end)
  return chosen
end

-- The longest idle session of the first tenant that can lose one.
local function find_victim(key, old_size, size)
  for _, tenant in ipairs(tenants_to_evict_from(tenant_of(key), old_size, size)) do
    local victim, touched
    if tenant == '' then victim, touched = longest_idle_of_none(key)
    else victim, touched = longest_idle_of(tenant, key) end
    if victim and now - touched >= min_idle then return victim end
  end
end

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
    local victim = find_victim(key, old_size, size)
    if not victim then return false end
    end_session(victim, EVICTED)
    num_evicted = num_evicted + 1
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
outcomes[#outcomes + 1] = num_evicted
return outcomes
"""
)

# ARGV: now, the bounds of tombstones, limit. Returns the number of expired sessions.
_SWEEP = """
local expired = redis.call('ZRANGEBYSCORE', expiry, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[6])
for _, key in ipairs(expired) do end_session(key, EXPIRED) end
return #expired
"""

# Returns the number of live sessions and their bytes.
_USAGE = """
return {redis.call('ZCARD', idle), tonumber(redis.call('GET', bytes) or 0)}
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
USAGE = Script(_READS + CONSTANTS + _USAGE)
SCAN = Script(_READS + CONSTANTS + _SCAN)
