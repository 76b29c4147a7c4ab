"""Shared by the Lua scripts: the Redis keys of a shard, the fields of a record, replacing one record.

The Lua code reads the fixed fields of a packed record (`record.py`), at offsets formatted from the record's
own table, and nothing else of it.

A tombstone is counted when it is added to `plots`, and uncounted when it is removed from there. Servers older
than `plots` stored tombstones without an entry: only their number is bounded, until the last one is dropped.
"""

from service.sessions.store.record import BOND_SIZE, FIELDS, HEADER_SIZE, MAGIC, Status, offset_of

# Every Redis key of a shard, after the shard's hash tag, and the Lua variable that holds it. "graves" (the
# tombstone index) and "plots" (the same by tenant) are stored names, so they stay.
KEYS = (
    "records",  # hash: key → record, live sessions and tombstones
    "idle",  # sorted set: live, by the time last touched; the first is evicted first
    "expiry",  # sorted set: live, by the time they expire
    "names",  # sorted set: live, in order of key, for lists
    "graves",  # sorted set: tombstones, by the time their session ended
    "bytes",  # number: sum of the sizes of all live records
    "tenants",  # hash: tenant, NUL, "sessions" or "bytes" → sum over its live records;
    #             tenant, NUL, "tombstones" or "tombstone_bytes" → sum over its tombstones
    "plots",  # sorted set: tombstones, by tenant and the time their session ended
    "grave_bytes",  # number: sum of the sizes of all tombstones
    "queues",  # sorted set: live sessions of tenants, by tenant and the second last touched
)
SHARDS_KEY = "shards"  # number of shards, beside the keys of the first one; every server must agree on it

_LUA_FORMATS = {"H": "I2", "I": "I4", "Q": "I8"}


def _lua_format(*fields: str) -> str:
    """The format of adjacent fields, little-endian, as Lua's `struct` reads it."""
    return "<" + "".join(_LUA_FORMATS[FIELDS[field]] for field in fields)


# Lua counts offsets from 1.
_OFFSETS = "\n".join(f"local {field.upper()}_AT = {offset_of(field) + 1}" for field in FIELDS)

CONSTANTS = f"""
local {", ".join(KEYS)} = unpack(KEYS)

{_OFFSETS}
local HEADER_SIZE, BOND_SIZE, MAGIC = {HEADER_SIZE}, {BOND_SIZE}, '{MAGIC.decode()}'
local STATUS, STEP, CHECKSUM = '{_lua_format("status")}', '{_lua_format("step")}', '{_lua_format("checksum")}'
local SIZES = '{_lua_format("model_size", "version_size", "state_size", "reply_size")}'
local EXPIRED, EVICTED = {Status.EXPIRED:d}, {Status.EVICTED:d}
local TIME, TOUCHED_TTL = '{_lua_format("touched_ms")}', '{_lua_format("touched_ms", "ttl_ms")}'
"""

# ARGV of the scripts that add tombstones: now, bounds on the number and bytes of all tombstones, and of those
# of one tenant.
FUNCTIONS = """
local now, max_tombstones, max_tombstone_bytes, max_own_tombstones, max_own_tombstone_bytes =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- CRC-32 as in zlib, four bits at a time
local NIBBLES = {
  0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
}

local function crc32(text, start)
  local crc = bit.bxor(start or 0, 0xffffffff)
  for i = 1, #text do
    crc = bit.bxor(crc, text:byte(i))
    crc = bit.bxor(bit.rshift(crc, 4), NIBBLES[bit.band(crc, 15) + 1])
    crc = bit.bxor(bit.rshift(crc, 4), NIBBLES[bit.band(crc, 15) + 1])
  end
  return bit.bxor(crc, 0xffffffff)
end

local function revision(packed)
  return packed and packed:sub(REVISION_AT, GRAPH_AT - 1) or ''
end

local function live_size(packed)
  local is_live = packed and #packed >= HEADER_SIZE and struct.unpack(STATUS, packed, STATUS_AT) == 0
  return is_live and #packed or 0
end

local function touched_of(packed)
  return #packed >= HEADER_SIZE and struct.unpack(TIME, packed, TOUCHED_MS_AT) or 0
end

-- What ties a record to its key, see record.py.
local function bond(key, packed)
  local step = struct.unpack(STEP, packed, STEP_AT)
  return struct.pack(CHECKSUM, crc32(key, bit.bxor(step % 2^32, math.floor(step / 2^32))))
end

local function is_whole(key, packed)
  if #packed < HEADER_SIZE then return false end
  local model, version, state, reply = struct.unpack(SIZES, packed, MODEL_SIZE_AT)
  local size = HEADER_SIZE + model + version + state + reply
  if #packed == size then return true end  -- of an older server
  if #packed > size + BOND_SIZE + 4 then  -- there are parts
    size = size + 4 + struct.unpack(CHECKSUM, packed, size + 1)
  end
  return #packed == size + BOND_SIZE and packed:sub(size + 1) == bond(key, packed)
end

-- The same bytes as base.tombstone, see test_redis_scripts.py. A damaged record becomes an empty tombstone.
local function tombstone(key, packed, status)
  if not is_whole(key, packed) then packed = string.rep('\\0', HEADER_SIZE) end
  local model, version = struct.unpack(SIZES, packed, MODEL_SIZE_AT)
  local body = struct.pack(STATUS, status) .. struct.pack(SIZES, model, version, 0, 0)
    .. packed:sub(STEP_AT, TOUCHED_MS_AT - 1) .. struct.pack(TIME, now)
    .. packed:sub(TTL_MS_AT, DIGEST_AT - 1) .. string.rep('\\0', HEADER_SIZE - DIGEST_AT + 1)
    .. packed:sub(HEADER_SIZE + 1, HEADER_SIZE + model + version) .. bond(key, packed)
  return MAGIC .. struct.pack(CHECKSUM, crc32(body)) .. body
end

local function tenant_of(key)
  return key:sub(1, key:find('\\0', 1, true) - 1)
end

local function tenant_total(tenant, field)
  return tonumber(redis.call('HGET', tenants, tenant .. '\\0' .. field) or 0)
end

local function count_tombstone(tenant, number, size)
  redis.call('INCRBY', grave_bytes, size)
  redis.call('HINCRBY', tenants, tenant .. '\\0tombstones', number)
  redis.call('HINCRBY', tenants, tenant .. '\\0tombstone_bytes', size)
end

-- Tenant, NUL, time of the end, size, rest of the key: in order, by tenant, oldest first.
local function entry_by_tenant(key, packed)
  local tenant = tenant_of(key)
  return tenant .. '\\0' .. struct.pack('>I8I4', touched_of(packed), #packed) .. key:sub(#tenant + 2)
end

local function add_tombstone(key, packed)
  redis.call('ZADD', graves, touched_of(packed), key)
  if redis.call('ZADD', plots, 0, entry_by_tenant(key, packed)) == 1 then
    count_tombstone(tenant_of(key), 1, #packed)
  end
end

local function remove_tombstone(key, packed)
  redis.call('ZREM', graves, key)
  if redis.call('ZREM', plots, entry_by_tenant(key, packed)) == 1 then
    count_tombstone(tenant_of(key), -1, -#packed)
  end
end

-- Drop a tenant's oldest tombstone; whether there was one.
local function drop_oldest_of(tenant)
  local from, to = '[' .. tenant .. '\\0', '(' .. tenant .. '\\1'
  local entry = redis.call('ZRANGEBYLEX', plots, from, to, 'LIMIT', 0, 1)[1]
  if not entry then return false end
  local ended, size, rest = struct.unpack('>I8I4', entry, #tenant + 2)
  local key = tenant .. '\\0' .. entry:sub(rest)
  redis.call('ZREM', plots, entry)
  count_tombstone(tenant, -1, -size)
  local packed = redis.call('HGET', records, key)
  if packed and live_size(packed) == 0 and touched_of(packed) == ended then
    redis.call('ZREM', graves, key)
    redis.call('HDEL', records, key)
  end
  return true
end

-- Drop the oldest tombstone of all; whether there was one.
local function drop_oldest()
  local key = redis.call('ZRANGE', graves, 0, 0)[1]
  if not key then return false end
  local packed = redis.call('HGET', records, key)
  if packed and live_size(packed) == 0 then
    remove_tombstone(key, packed)
    redis.call('HDEL', records, key)
  else
    redis.call('ZREM', graves, key)
  end
  return true
end

local function own_bounds(tenant)
  if tenant == '' then return max_tombstones, max_tombstone_bytes end
  return max_own_tombstones, max_own_tombstone_bytes
end

-- Until those of the tenant, and then all together, are within their bounds.
local function drop_oldest_tombstones(tenant)
  local number, size = own_bounds(tenant)
  while (tenant_total(tenant, 'tombstones') > number or tenant_total(tenant, 'tombstone_bytes') > size)
    and drop_oldest_of(tenant) do end
  while (redis.call('ZCARD', graves) > max_tombstones
    or tonumber(redis.call('GET', grave_bytes) or 0) > max_tombstone_bytes) and drop_oldest() do end
end

-- Tenant, NUL, second last touched, rest of the key: in order, by tenant, longest idle first. By the second,
-- so that a busy session seldom moves. Nil for what is not a live session of a tenant.
local function queue_entry(key, packed)
  local tenant = tenant_of(key)
  if tenant == '' or live_size(packed) == 0 then return nil end
  return tenant .. '\\0' .. struct.pack('>I8', math.floor(touched_of(packed) / 1000)) .. key:sub(#tenant + 2)
end

local function requeue(key, old, new)
  local before, after = queue_entry(key, old), queue_entry(key, new)
  if before == after then return end
  if before then redis.call('ZREM', queues, before) end
  if after then redis.call('ZADD', queues, 0, after) end
end

-- Put one record in place of another, and update indexes and totals.
local function replace(key, old, new)
  local before, after = live_size(old), live_size(new)
  if new then redis.call('HSET', records, key, new) else redis.call('HDEL', records, key) end
  if before ~= after then
    redis.call('INCRBY', bytes, after - before)
    local tenant = tenant_of(key)
    if tenant ~= '' then
      redis.call('HINCRBY', tenants, tenant .. '\\0bytes', after - before)
      local added = (after > 0 and 1 or 0) - (before > 0 and 1 or 0)
      if added ~= 0 then redis.call('HINCRBY', tenants, tenant .. '\\0sessions', added) end
    end
  end
  if after > 0 then
    local touched, ttl = struct.unpack(TOUCHED_TTL, new, TOUCHED_MS_AT)
    redis.call('ZADD', idle, touched, key)
    redis.call('ZADD', expiry, touched + ttl, key)
    if before == 0 then redis.call('ZADD', names, 0, key) end
  elseif before > 0 then
    redis.call('ZREM', idle, key)
    redis.call('ZREM', expiry, key)
    redis.call('ZREM', names, key)
  end
  requeue(key, old, new)
  if old and before == 0 then remove_tombstone(key, old) end
  if new and after == 0 then
    add_tombstone(key, new)
    drop_oldest_tombstones(tenant_of(key))
  end
end

-- Replace a live session whose record is missing with a tombstone; whether there was one.
local function end_lost_session(key)
  if not redis.call('ZSCORE', names, key) then return false end
  for _, index in ipairs({idle, expiry, names}) do redis.call('ZREM', index, key) end
  replace(key, false, tombstone(key, '', EVICTED))
  return true
end

-- Replace a live record with a tombstone.
local function end_session(key, status)
  local old = redis.call('HGET', records, key)
  if old then replace(key, old, tombstone(key, old, status)) end
  if live_size(old) == 0 then  -- missing, or damaged where it says that it is live
    for _, index in ipairs({idle, expiry, names}) do redis.call('ZREM', index, key) end
  end
end
"""
