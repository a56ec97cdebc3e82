-- Chords on Celery's keys, as the scripts of Celery 5.7 treat them: both may end parts of the same chord. A part of other scripts.
--
-- All keys of a chord begin with the key of its group, under which lies the structure of the results where the header holds
-- groups: .j the parts, .t what the size grew by, .s the size, .d the parts that were counted, .c who has the claim on the body,
-- or `done`. Each function reads ARGV[at] and as many behind it as its number says, as `chord_args.rs` makes them.

local OPEN_ARGS, PART_ARGS, HOLD_ARGS, END_ARGS = 4, 8, 3, 3

-- Begins to count: key, size, structure or '', time to live in ms or ''. Answers 0 when the body was sent already, and then changes
-- nothing: the sender's delivery came twice. A claim of somebody who is not done goes.
local function open_chord(at)
  local key, size, structure, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local claim = redis.call('GET', key .. '.c')
  if claim == 'done' then return 0 end
  local function set(name, value)
    if ttl == '' then
      redis.call('SET', name, value)
    else
      redis.call('SET', name, value, 'PX', ttl)
    end
  end
  if structure ~= '' then set(key, structure) end
  set(key .. '.s', size)
  if claim then redis.call('DEL', key .. '.c') end
  return 1
end

-- Whether `more` parts more may complete the chord of this key.
local function nears_end(key, more, ordered)
  local size = redis.call('GET', key .. '.s')
  if not size then return false end
  local left = tonumber(size) - redis.call(ordered and 'ZCARD' or 'LLEN', key .. '.j') - more
  return left <= 0 and left + tonumber(redis.call('GET', key .. '.t') or 0) <= 0
end

-- Counts a part: key, task id, part, '1' for an ordered chord, place in it, time to live in ms or '', duration of a claim in ms,
-- claimant. Answers 'fired'; 'waiting'; or, to the one that has the claim on the body: 'complete', the structure or false, the parts.
local function count_part(at)
  local key, task, part, ordered = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3] == '1'
  local place, ttl, duration, claimant = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local parts, growth, size, counted, claim = key .. '.j', key .. '.t', key .. '.s', key .. '.d', key .. '.c'
  if redis.call('GET', claim) == 'done' then return 'fired' end
  -- A header may hold one task id at several places.
  if redis.call('SADD', counted, task .. ':' .. place) == 1 then
    if ordered then
      -- What is at another place and says the same is another part, where Celery would move the one that is there. A blank behind
      -- it makes no difference to who reads it.
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
  local wanted = redis.call('GET', size)
  if not wanted then return 'waiting' end
  wanted = tonumber(wanted) + tonumber(redis.call('GET', growth) or 0)
  if redis.call(ordered and 'ZCARD' or 'LLEN', parts) ~= wanted then return 'waiting' end
  if not redis.call('SET', claim, claimant, 'NX', 'PX', duration) then
    if redis.call('GET', claim) ~= claimant then return 'waiting' end
    redis.call('PEXPIRE', claim, duration)
  end
  return 'complete', redis.call('GET', key), redis.call(ordered and 'ZRANGE' or 'LRANGE', parts, 0, -1)
end

-- Whether the claim is still its own, or can be its own again: key, claimant, duration of a claim in ms.
local function holds_chord(at)
  local key, claimant, duration = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holder = redis.call('GET', key .. '.c')
  if holder and holder ~= claimant or redis.call('EXISTS', key .. '.s') == 0 then return false end
  redis.call('SET', key .. '.c', claimant, 'PX', duration)
  return true
end

-- Ends a chord for the one that has the claim on its body: key, claimant, for how many seconds copies of parts are told that the body
-- was sent; '' when it was failed. Answers 0 when the claim was lost.
local function end_chord(at)
  local key, claimant, told = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('GET', key .. '.c') ~= claimant then return 0 end
  if told == '' then
    -- Without a size it is never complete again. The parts stay for their time, as with Celery.
    redis.call('DEL', key .. '.s')
  else
    redis.call('DEL', key .. '.j', key .. '.t', key .. '.s', key .. '.d')
    redis.call('SET', key .. '.c', 'done', 'EX', told)
  end
  return 1
end

-- The answer of a script that is one of these, when it failed: it names the chord.
local function failed_chord(failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  return redis.error_reply(text .. ' (at ' .. string.format('%q', ARGV[1]) .. ')')
end
