"""The Lua that runs inside Redis: each script is one atomic, logged change of one shard.

They know a packed record (`record.py`) by the position of a few fields, nothing else. Lua counts from 1:

    1 magic  5 CRC-32  9 status  11 model length  13 version length  15 state length  19 reply length  23 step
    31 at  39 created  47 touched  55 ttl  63 revision  71 graph  79 digest  95 model, version, state, reply

The first line makes Redis refuse a script before it starts, not in the middle, when memory or disk is full or
the server is a read-only replica; it needs Redis 7 or Valkey. What frees memory may run when it is full.

A tombstone is counted when it is put into `plots`, and uncounted when it is taken out. Those of servers older
than `plots` are in none: they are bounded in number alone, until the last of them is gone.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Script:
    """Its text, and the digest by which a server knows it that has run it before."""

    text: str

    @cached_property
    def digest(self) -> str:
        """SHA-1, as EVALSHA wants it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_WRITES = "#!lua\n"
_FREES = "#!lua flags=allow-oom\n"
_READS = "#!lua flags=no-writes\n"

_NAMES = """
local records, idle, expiry, names, graves, bytes, tenants, plots, grave_bytes = unpack(KEYS)
"""

# ARGV, of whatever buries: now, most tombstones and bytes of them, and the same of one tenant.
_RECORD = """
local now, max_graves, max_grave_bytes, max_own_graves, max_own_grave_bytes =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- CRC-32 as in zlib, four bits at a time
local NIBBLES = {
  0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
}

local function crc32(text)
  local crc = 0xffffffff
  for i = 1, #text do
    crc = bit.bxor(crc, text:byte(i))
    crc = bit.bxor(bit.rshift(crc, 4), NIBBLES[bit.band(crc, 15) + 1])
    crc = bit.bxor(bit.rshift(crc, 4), NIBBLES[bit.band(crc, 15) + 1])
  end
  return bit.bxor(crc, 0xffffffff)
end

local function revision(packed)
  return packed and packed:sub(63, 70) or ''
end

local function live_size(packed)
  if packed and #packed >= 94 and struct.unpack('<I2', packed, 9) == 0 then return #packed end
  return 0
end

local function touched_of(packed)
  return #packed >= 94 and struct.unpack('<I8', packed, 47) or 0
end

local function is_whole(packed)
  if #packed < 94 then return false end
  local model, version, state, reply = struct.unpack('<I2I2I4I4', packed, 11)
  return #packed == 94 + model + version + state + reply
end

-- base.tombstone: the same bytes, which a test holds. Of a record that is not whole nothing can be told.
local function tombstone(packed, status)
  if not is_whole(packed) then packed = string.rep('\\0', 94) end
  local model, version = struct.unpack('<I2I2', packed, 11)
  local body = struct.pack('<I2I2I2I4I4', status, model, version, 0, 0) .. packed:sub(23, 46)
    .. struct.pack('<I8', now) .. packed:sub(55, 78) .. string.rep('\\0', 16)
    .. packed:sub(95, 94 + model + version)
  return 'CGR1' .. struct.pack('<I4', crc32(body)) .. body
end

local function tenant_of(key)
  return key:sub(1, key:find('\\0', 1, true) - 1)
end

local function count_grave(tenant, number, size)
  redis.call('INCRBY', grave_bytes, size)
  redis.call('HINCRBY', tenants, tenant .. '\\0tombstones', number)
  redis.call('HINCRBY', tenants, tenant .. '\\0tombstone_bytes', size)
end

-- Tenant, NUL, time of death, size, rest of the key: in order, each tenant's lie together, oldest first.
local function plot_of(key, packed)
  local tenant = tenant_of(key)
  return tenant .. '\\0' .. struct.pack('>I8I4', touched_of(packed), #packed) .. key:sub(#tenant + 2)
end

local function add_grave(key, packed)
  redis.call('ZADD', graves, touched_of(packed), key)
  if redis.call('ZADD', plots, 0, plot_of(key, packed)) == 1 then count_grave(tenant_of(key), 1, #packed) end
end

local function remove_grave(key, packed)
  redis.call('ZREM', graves, key)
  if redis.call('ZREM', plots, plot_of(key, packed)) == 1 then count_grave(tenant_of(key), -1, -#packed) end
end

-- Forget a tenant's oldest tombstone; whether there was one.
local function drop_oldest_of(tenant)
  local from, to = '[' .. tenant .. '\\0', '(' .. tenant .. '\\1'
  local plot = redis.call('ZRANGEBYLEX', plots, from, to, 'LIMIT', 0, 1)[1]
  if not plot then return false end
  local died, size, rest = struct.unpack('>I8I4', plot, #tenant + 2)
  local key = tenant .. '\\0' .. plot:sub(rest)
  redis.call('ZREM', plots, plot)
  count_grave(tenant, -1, -size)
  local packed = redis.call('HGET', records, key)
  if packed and live_size(packed) == 0 and touched_of(packed) == died then
    redis.call('ZREM', graves, key)
    redis.call('HDEL', records, key)
  end
  return true
end

-- Forget the oldest tombstone of all; whether there was one.
local function drop_oldest()
  local key = redis.call('ZRANGE', graves, 0, 0)[1]
  if not key then return false end
  local packed = redis.call('HGET', records, key)
  if packed and live_size(packed) == 0 then
    remove_grave(key, packed)
    redis.call('HDEL', records, key)
  else
    redis.call('ZREM', graves, key)
  end
  return true
end

local function own_bounds(tenant)
  if tenant == '' then return max_graves, max_grave_bytes end
  return max_own_graves, max_own_grave_bytes
end

-- Until the tenant's, and then all, are within their bounds.
local function drop_oldest_graves(tenant)
  local number, size = own_bounds(tenant)
  local function own(what) return tonumber(redis.call('HGET', tenants, tenant .. '\\0' .. what) or 0) end
  while (own('tombstones') > number or own('tombstone_bytes') > size) and drop_oldest_of(tenant) do end
  while (redis.call('ZCARD', graves) > max_graves
      or tonumber(redis.call('GET', grave_bytes) or 0) > max_grave_bytes) and drop_oldest() do end
end

-- Put one record in the place of another, and keep indexes and totals in step with them.
local function replace(key, old, new)
  local before, after = live_size(old), live_size(new)
  if new then redis.call('HSET', records, key, new) else redis.call('HDEL', records, key) end
  if before ~= after then
    redis.call('INCRBY', bytes, after - before)
    local tenant = tenant_of(key)
    if tenant ~= '' then
      redis.call('HINCRBY', tenants, tenant .. '\\0bytes', after - before)
      local born = (after > 0 and 1 or 0) - (before > 0 and 1 or 0)
      if born ~= 0 then redis.call('HINCRBY', tenants, tenant .. '\\0sessions', born) end
    end
  end
  if after > 0 then
    local touched, ttl = struct.unpack('<I8I8', new, 47)
    redis.call('ZADD', idle, touched, key)
    redis.call('ZADD', expiry, touched + ttl, key)
    if before == 0 then redis.call('ZADD', names, 0, key) end
  elseif before > 0 then
    redis.call('ZREM', idle, key)
    redis.call('ZREM', expiry, key)
    redis.call('ZREM', names, key)
  end
  if old and before == 0 then remove_grave(key, old) end
  if new and after == 0 then
    add_grave(key, new)
    drop_oldest_graves(tenant_of(key))
  end
end

local function bury(key, status)
  local old = redis.call('HGET', records, key)
  if old then replace(key, old, tombstone(old, status)) end
  if live_size(old) == 0 then  -- gone, or damaged where it says that it is live
    for _, index in ipairs({idle, expiry, names}) do redis.call('ZREM', index, key) end
  end
end
"""

# ARGV: now, the bounds of tombstones, max_sessions, max_bytes, min_idle; per write: key, expected revision,
# record, and its tenant's bounds on sessions and bytes (0: none). Empty revision: nothing there. Empty
# record: delete. Returns per write 0 done, 1 conflict, 2 full, 3 over quota.
_COMMIT = """
local DONE, CONFLICT, FULL, OVER_QUOTA, EVICTED = 0, 1, 2, 3, 3
local max_sessions, max_bytes, min_idle = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function oldest_but(key)
  local found = redis.call('ZRANGE', idle, 0, 1, 'WITHSCORES')
  if found[1] == key then return found[3], tonumber(found[4]) end
  return found[1], tonumber(found[2])
end

-- Whether the new record fits in the place of the old one, once others have been evicted for it.
local function has_room(key, old, new)
  local size = live_size(new)
  if size == 0 then
    local _, most = own_bounds(tenant_of(key))
    return #new <= most
  end
  local replaced = live_size(old)
  while size > replaced and (tonumber(redis.call('GET', bytes) or 0) - replaced + size > max_bytes
      or (replaced == 0 and redis.call('ZCARD', idle) >= max_sessions)) do
    local victim, touched = oldest_but(key)
    if not victim or now - touched < min_idle then return false end
    bury(victim, EVICTED)
  end
  return true
end

local function is_over_quota(key, old, size, max_sessions, max_bytes)
  if max_sessions == 0 then return false end
  local tenant, replaced = tenant_of(key), live_size(old)
  local function total(what) return tonumber(redis.call('HGET', tenants, tenant .. '\\0' .. what) or 0) end
  if replaced == 0 and total('sessions') >= max_sessions then return true end
  return size > replaced and total('bytes') - replaced + size > max_bytes
end

local function write(key, expected, new, max_sessions, max_bytes)
  local old = redis.call('HGET', records, key)
  -- Revisions are drawn anew for each write: if ours is there, this command was sent before, its reply lost.
  if new and revision(old) == revision(new) then return DONE end
  if revision(old) ~= expected then return CONFLICT end
  if live_size(new) > 0 and is_over_quota(key, old, #new, max_sessions, max_bytes) then return OVER_QUOTA end
  if new and (deletes_only or not has_room(key, old, new)) then return FULL end
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

# ARGV: now, the bounds of tombstones, limit. Returns how many sessions were buried.
_SWEEP = """
local EXPIRED = 2
local expired = redis.call('ZRANGEBYSCORE', expiry, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[6])
for _, key in ipairs(expired) do bury(key, EXPIRED) end
return #expired
"""

# ARGV: lower and upper bound as ZRANGEBYLEX wants them, limit. Returns key, record, key, record, …
_SCAN = """
local found = {}
for _, key in ipairs(redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('HGET', records, key) or ''
end
return found
"""

_STATS = """
local function number(key) return tonumber(redis.call('GET', key) or 0) end
return {redis.call('ZCARD', idle), number(bytes), redis.call('ZCARD', graves), number(grave_bytes)}
"""

COMMIT = Script(_WRITES + "local deletes_only = false\n" + _NAMES + _RECORD + _COMMIT)
DELETE = Script(_FREES + "local deletes_only = true\n" + _NAMES + _RECORD + _COMMIT)
SWEEP = Script(_FREES + _NAMES + _RECORD + _SWEEP)
SCAN = Script(_READS + _NAMES + _SCAN)
STATS = Script(_READS + _NAMES + _STATS)
