-- Chords on the keys of Celery. The scripts of Celery 5.7 work the same way: both can count parts of one chord.
-- Other scripts begin with this text.
--
-- Every key of a chord begins with the key of its group. The group key itself holds the structure of the results, if
-- the header has groups. The other keys have suffixes:
--   .j  the parts
--   .t  how much the size has grown
--   .s  the size
--   .d  which parts were counted, and which were added (with a `+` before; Celery looks for parts that it counts)
--   .c  who has the body claim, or `done`
-- Each function reads its arguments from ARGV[at] on; the constants below say how many. `chord_args.rs` writes them.

local OPEN_ARGS, PART_ARGS, HOLD_ARGS, END_ARGS = 4, 8, 3, 3

-- Begins to count a chord.
-- Arguments: key, size, structure or '', time to live in ms or ''.
-- Returns 0 and changes nothing if the body was sent already: then the sender was delivered twice. Otherwise it returns
-- 1 and removes an unfinished body claim.
local function open_chord(at)
  local key, size, structure, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local body_claim = redis.call('GET', key .. '.c')
  if body_claim == 'done' then return 0 end
  local function set(name, value)
    if ttl == '' then
      redis.call('SET', name, value)
    else
      redis.call('SET', name, value, 'PX', ttl)
    end
  end
  if structure ~= '' then set(key, structure) end
  set(key .. '.s', size)
  if body_claim then redis.call('DEL', key .. '.c') end
  return 1
end

-- Whether `new_parts` more parts may complete the chord of this key.
local function may_complete(key, new_parts, ordered)
  local size = redis.call('GET', key .. '.s')
  if not size then return false end
  local missing = tonumber(size) - redis.call(ordered and 'ZCARD' or 'LLEN', key .. '.j') - new_parts
  return missing <= 0 and missing + tonumber(redis.call('GET', key .. '.t') or 0) <= 0
end

-- Counts a part.
-- Arguments: key, task id, part, '1' for an ordered chord, place in the chord, time to live in ms or '', duration of a
-- body claim in ms, claimant.
-- Returns 'fired' if the body was sent already. Returns 'complete', the structure or false, and the parts if the chord
-- is complete and the claimant has the body claim. Otherwise it returns 'waiting'.
local function count_part(at)
  local key, task, part, ordered = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3] == '1'
  local place, ttl, duration, claimant = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local parts, growth, size, counted, body_claim = key .. '.j', key .. '.t', key .. '.s', key .. '.d', key .. '.c'
  if redis.call('GET', body_claim) == 'done' then return 'fired' end
  -- A header may hold the same task id at several places.
  if redis.call('SADD', counted, task .. ':' .. place) == 1 then
    if ordered then
      -- An equal part at another place is a different part, but ZADD would take both for one member (Celery moves it).
      -- A trailing blank makes them differ and does not matter to readers.
      while redis.call('ZADD', parts, 'NX', place, part) == 0 do
        if tonumber(redis.call('ZSCORE', parts, part)) == tonumber(place) then break end
        part = part .. ' '
      end
    else
      redis.call('RPUSH', parts, part)
    end
  end
  if ttl ~= '' then
    for _, name in ipairs({ parts, growth, size, counted, key }) do redis.call('PEXPIRE', name, ttl) end
  end
  local expected = redis.call('GET', size)
  if not expected then return 'waiting' end
  expected = tonumber(expected) + tonumber(redis.call('GET', growth) or 0)
  if redis.call(ordered and 'ZCARD' or 'LLEN', parts) ~= expected then return 'waiting' end
  if not redis.call('SET', body_claim, claimant, 'NX', 'PX', duration) then
    if redis.call('GET', body_claim) ~= claimant then return 'waiting' end
    redis.call('PEXPIRE', body_claim, duration)
  end
  return 'complete', redis.call('GET', key), redis.call(ordered and 'ZRANGE' or 'LRANGE', parts, 0, -1)
end

-- Adds a part to the size, once.
-- Arguments: key, task id, time to live in ms or ''.
-- Returns 0 and changes nothing if the body was sent already, otherwise 1.
local function grow_chord(at)
  local key, task, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local growth, counted = key .. '.t', key .. '.d'
  if redis.call('GET', key .. '.c') == 'done' then return 0 end
  if redis.call('SADD', counted, '+' .. task) == 1 then redis.call('INCR', growth) end
  if ttl ~= '' then
    for _, name in ipairs({ growth, counted }) do redis.call('PEXPIRE', name, ttl) end
  end
  return 1
end

-- Renews a body claim, or takes it again if nobody has it.
-- Arguments: key, claimant, duration of a body claim in ms.
-- Returns whether the claimant has the body claim.
local function renew_body_claim(at)
  local key, claimant, duration = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holder = redis.call('GET', key .. '.c')
  if holder and holder ~= claimant or redis.call('EXISTS', key .. '.s') == 0 then return false end
  redis.call('SET', key .. '.c', claimant, 'PX', duration)
  return true
end

-- Ends a chord for the claimant that has the body claim.
-- Arguments: key, claimant, and for how many seconds it is remembered that the body was sent, for repeated parts. The
-- last one is '' if the chord failed.
-- Returns 0 if the body claim was lost, otherwise 1.
local function end_chord(at)
  local key, claimant, remember_for = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('GET', key .. '.c') ~= claimant then return 0 end
  if remember_for == '' then
    -- Without a size the chord is never complete again. The parts stay until they expire, as in Celery.
    redis.call('DEL', key .. '.s')
  else
    redis.call('DEL', key .. '.j', key .. '.t', key .. '.s', key .. '.d')
    redis.call('SET', key .. '.c', 'done', 'EX', remember_for)
  end
  return 1
end

-- The error reply of a script that consists of one of these functions. It names the chord.
local function chord_error(failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  return redis.error_reply(text .. ' (at ' .. string.format('%q', ARGV[1]) .. ')')
end
