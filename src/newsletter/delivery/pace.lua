-- The arithmetic of buckets.py, shared by all workers: one call does all of one request, and nothing comes between.
-- KEYS[1]: what every key begins with. ARGV[1]: the request as JSON. Answers JSON.
-- relay:NAME:SECONDS   hash, slice -> tokens taken     limits   hash, domain -> its bucket as JSON
-- sent:MINUTE          hash, domain -> messages        All of them expire by themselves.

local SLICES, FLOOR, BURST, STEP_SECONDS, STEP = 20, 1 / 60, 5, 180, 1.5
local SAME_SECONDS, LONGEST_SPREAD, SHORTEST_WAIT, AT_ONCE = 15, 600, 0.05, 1000

local prefix, ask = KEYS[1], cjson.decode(ARGV[1])
local now = ask.now
if now == cjson.null then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local limits_key = prefix .. 'limits'
local any_limit = redis.call('EXISTS', limits_key) == 1
local minute = math.floor(now / 60)

local function number(value)
  return string.format('%.17g', value)
end

local function sent_key(which)
  return prefix .. 'sent:' .. string.format('%.0f', which)
end

local function current(limit)
  local steps = math.min(64, math.max(0, math.floor((now - limit.slowed_at) / STEP_SECONDS)))
  local rate = limit.rate
  for _ = 1, steps do rate = rate * STEP end
  return rate
end

local function full(limit)
  return math.max(1, current(limit) * BURST)
end

-- The values of many fields of a hash, in few calls; false for one that is not there.
local function values_of(key, fields)
  local found = {}
  for first = 1, #fields, AT_ONCE do
    local last = math.min(first + AT_ONCE - 1, #fields)
    for i, value in ipairs(redis.call('HMGET', key, unpack(fields, first, last))) do
      found[first + i - 1] = value
    end
  end
  return found
end

-- A domain's bucket as it was kept, filled up to now; nil if there is none or it is over.
local function read_limit(domain, text)
  if not text then return nil end
  local part = {}
  for word in string.gmatch(text, '%S+') do part[#part + 1] = tonumber(word) end
  local limit = { rate = part[1], origin = part[2], slowed_at = part[3], tokens = part[4], at = part[5] }
  limit.slowed_at, limit.at = math.min(limit.slowed_at, now), math.min(limit.at, now)
  limit.tokens = math.min(full(limit), limit.tokens + (now - limit.at) * current(limit))
  limit.at = now
  if current(limit) < limit.origin then return limit end
  redis.call('HDEL', limits_key, domain)
  return nil
end

local function find_limit(domain)
  return read_limit(domain, any_limit and redis.call('HGET', limits_key, domain))
end

local function keep_limit(domain, limit)
  redis.call('HSET', limits_key, domain, table.concat({ number(limit.rate), number(limit.origin),
    number(limit.slowed_at), number(limit.tokens), number(limit.at) }, ' '))
  local steps = math.ceil(math.log(limit.origin / limit.rate) / math.log(STEP)) + 1
  local ttl = math.ceil(limit.slowed_at - now) + steps * STEP_SECONDS
  if redis.call('TTL', limits_key) < ttl then redis.call('EXPIRE', limits_key, ttl) end
end

-- What is out of a relay's bucket, by slice; what has come back is deleted.
local function open_bucket(relay, count, seconds)
  local bucket = { key = prefix .. 'relay:' .. relay .. ':' .. string.format('%.0f', seconds), count = count,
    seconds = seconds, width = seconds / SLICES, cells = {}, used = 0 }
  bucket.slice = math.floor(now / bucket.width)
  local flat = redis.call('HGETALL', bucket.key)
  for i = 1, #flat, 2 do
    local cell, taken = tonumber(flat[i]), tonumber(flat[i + 1])
    if math.abs(cell - bucket.slice) > SLICES then
      redis.call('HDEL', bucket.key, flat[i])
    else
      bucket.cells[cell] = taken
      bucket.used = bucket.used + taken
    end
  end
  return bucket
end

local function take(bucket, taken)
  if taken == 0 then return end
  bucket.cells[bucket.slice] = (bucket.cells[bucket.slice] or 0) + taken
  bucket.used = bucket.used + taken
  redis.call('HINCRBY', bucket.key, string.format('%.0f', bucket.slice), taken)
  redis.call('EXPIRE', bucket.key, math.ceil(bucket.seconds + bucket.width) + 1)
end

local function next_free(bucket)
  local first
  for cell, taken in pairs(bucket.cells) do
    if taken > 0 and (not first or cell < first) then first = cell end
  end
  return (first + SLICES + 1) * bucket.width - now
end

local function share_out(wanted, total, room)
  local shares = {}
  if total <= room then
    for i, n in ipairs(wanted) do shares[i] = n end
    return shares
  end
  local left = room
  for i, n in ipairs(wanted) do
    shares[i] = math.floor(n * room / total)
    left = left - shares[i]
  end
  for i, n in ipairs(wanted) do
    if left > 0 and shares[i] < n then
      shares[i] = shares[i] + 1
      left = left - 1
    end
  end
  return shares
end

local function grant()
  local allowed, allowed_total, wanted_total, limits, names = {}, 0, 0, {}, {}
  for i, pair in ipairs(ask.domains) do names[i] = pair[1] end
  local kept = any_limit and values_of(limits_key, names) or {}
  for i, pair in ipairs(ask.domains) do
    local limit = read_limit(pair[1], kept[i])
    limits[i] = limit or false
    allowed[i] = limit and math.min(pair[2], math.floor(limit.tokens)) or pair[2]
    allowed_total, wanted_total = allowed_total + allowed[i], wanted_total + pair[2]
  end
  local room, buckets = allowed_total, {}
  for i, rate in ipairs(ask.rates) do
    buckets[i] = open_bucket(ask.relay, rate[1], rate[2])
    local free = buckets[i].count - buckets[i].used
    room = i == 1 and free or math.min(room, free)
  end
  local granted, total = share_out(allowed, allowed_total, math.max(0, room)), 0
  local this = sent_key(minute)
  local sent, changed = values_of(this, names), {}
  for i, pair in ipairs(ask.domains) do
    total = total + granted[i]
    if granted[i] > 0 then
      changed[#changed + 1], changed[#changed + 2] = pair[1], (tonumber(sent[i] or 0)) + granted[i]
    end
    if limits[i] then
      limits[i].tokens = limits[i].tokens - granted[i]
      keep_limit(pair[1], limits[i])
    end
  end
  for first = 1, #changed, 2 * AT_ONCE do
    redis.call('HSET', this, unpack(changed, first, math.min(first + 2 * AT_ONCE - 1, #changed)))
  end
  if total > 0 then redis.call('EXPIRE', this, 180) end
  local relay_wait, relay_finish, rest = 0, 0, wanted_total - total
  for _, bucket in ipairs(buckets) do
    take(bucket, total)
    if total < allowed_total then
      if bucket.used >= bucket.count then relay_wait = math.max(relay_wait, next_free(bucket)) end
      relay_finish = math.max(relay_finish, rest * bucket.seconds / bucket.count)
    end
  end
  local wait, finish, known = nil, {}, {}
  for i, pair in ipairs(ask.domains) do
    local left, limit = pair[2] - granted[i], limits[i]
    finish[i] = 0
    if left > 0 then
      local soonest, last = relay_wait, relay_wait + relay_finish
      if limit then
        soonest = math.max(soonest, (1 - limit.tokens) / current(limit))
        last = math.max(last, (left - limit.tokens) / current(limit))
      end
      soonest = math.max(SHORTEST_WAIT, soonest)
      wait = math.min(wait or soonest, soonest)
      finish[i] = math.min(math.max(soonest, last), math.max(LONGEST_SPREAD, soonest))
    end
    if limit then known[#known + 1] = { pair[1], limit.rate, limit.origin, limit.slowed_at, limit.tokens, limit.at } end
  end
  return { granted = granted, wait = wait or 0, finish = finish, full = relay_wait, limits = known }
end

local function refund()
  local total = 0
  for _, pair in ipairs(ask.domains) do
    total = total + pair[2]
    local limit = find_limit(pair[1])
    if limit then
      limit.tokens = math.min(full(limit), limit.tokens + pair[2])
      keep_limit(pair[1], limit)
    end
    local noted = tonumber(redis.call('HGET', sent_key(minute), pair[1]) or 0)
    if noted > 0 then redis.call('HINCRBY', sent_key(minute), pair[1], -math.min(noted, pair[2])) end
  end
  for _, rate in ipairs(ask.rates) do
    local bucket, back, order = open_bucket(ask.relay, rate[1], rate[2]), total, {}
    for cell in pairs(bucket.cells) do order[#order + 1] = cell end
    table.sort(order, function(one, other) return one > other end)
    for _, cell in ipairs(order) do
      local part = math.min(back, bucket.cells[cell])
      if part > 0 then redis.call('HINCRBY', bucket.key, string.format('%.0f', cell), -part) end
      back = back - part
    end
  end
  return {}
end

local function slow_down()
  local limit = find_limit(ask.domain)
  if not limit then
    local last = tonumber(redis.call('HGET', sent_key(minute - 1), ask.domain) or 0)
    local this = tonumber(redis.call('HGET', sent_key(minute), ask.domain) or 0)
    local measured = (this + last * (1 - (now - minute * 60) / 60)) / 60
    measured = math.max(measured, ask.recent, 2 * FLOOR)
    limit = { rate = measured / 2, origin = measured, slowed_at = now, tokens = 0, at = now }
  elseif now - limit.slowed_at >= SAME_SECONDS then
    limit.rate, limit.slowed_at, limit.tokens = math.max(FLOOR, current(limit) / 2), now, 0
  end
  keep_limit(ask.domain, limit)
  return { rate = current(limit) }
end

local function show()
  local found, flat = {}, redis.call('HKEYS', limits_key)
  for _, domain in ipairs(flat) do
    local limit = find_limit(domain)
    if limit then found[#found + 1] = { domain, current(limit) } end
  end
  return { limits = found }
end

local acts = { grant = grant, refund = refund, slow_down = slow_down, show = show }
return cjson.encode(acts[ask.act]())
