-- Settles deliveries in one step: results, follow-ups, and where the messages go. record.lua and claim.lua come before
-- this text. chord.lua comes before it too if there are operations for chords (o, w, g, t, h, u, x).
--
-- KEYS  unacked, index, crashes, dead, dead.last, dead.order, eta, leases
-- ARGV  key prefix of delayed messages, channel of etas, now; the number of tags, the tags; then operations:
--         v                     comes first where the types of all keys have to be right before anything is written
--         i N                   the operations after it belong to the N-th tag (0: to no tag)
--         r …                   writes a record, as write_record reads it
--         p list envelope       adds a message to the end of a list
--         b list envelope       adds a message to the front of a list
--         e list due envelope   delays a message
--         f channel payload     publishes on a channel
--         d document            adds a document to the dead set
--         c tag                 deletes a crash count
--         k tag list envelope   adds one to the crash count; the message goes to the front of its list
--         o …                   opens a chord, as open_chord reads it
--         w number ordered n key…
--                               n parts of the chords with these keys follow: if they may complete one of the chords,
--                               the operations up to the next i are skipped
--         g tag entry           if the part after it is the last of its chord, puts this recount message in flight
--         t number …            counts a part of a chord, as count_part reads it
--         h …                   skips the operations of this delivery up to u or the next h, unless renew_body_claim
--                               succeeds
--         u                     ends the condition of h
--         x …                   ends a chord, as end_chord reads it
--         n …                   claims what comes next, as claim reads it, once all else is done; up to the end. It is
--                               left out if the caller has to come again: that call brings the claim
-- Returns a list of:
--   N                           the N-th tag was not in flight any more: its operations were skipped
--   { number }                  this w skipped operations
--   { number, structure or false, parts }
--                               the part of this t was the last of its chord. Unless it had a g, the rest of its
--                               delivery was skipped, and the delivery stays in flight.
--   { counts, envelopes… }      what claim returned. Nothing was claimed if the first text holds no counts.
--
-- The script removes the tags from the index first, because Redis never refuses a script for lack of memory once it has
-- written. With v it checks the types of all keys that the operations use, so that it does all of them or none. Results
-- alone need no check: to write one again changes nothing. If a command fails, the tags return to the index. The error
-- names `error_key`.
local delayed, channel, now = ARGV[1], ARGV[2], ARGV[3]
local count = tonumber(ARGV[4])
local at = 5 + count
local lost, answer = {}, {}
-- Where the arguments of the claim begin, and whether it is left out.
local claim_at, comes_again
-- The deliveries that stay in flight, because one of their parts was the last of its chord.
local stay_in_flight
local error_key = ''
local function error_about(key, failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  return redis.error_reply(text .. ' (at ' .. string.format('%q', key) .. ')')
end
if count > 0 then
  local removed = redis.pcall('ZREM', KEYS[2], unpack(ARGV, 5, 4 + count))
  if type(removed) == 'table' then return error_about(KEYS[2], removed) end
  if removed < count then
    for n = 1, count do
      if redis.call('HEXISTS', KEYS[1], ARGV[4 + n]) == 0 then
        lost[n] = true
        answer[#answer + 1] = n
      end
    end
  end
end
-- Fails if a key of the operations has another type than they need.
local function check_types()
  local expected, keys, records = {}, {}, {}
  local function expect(key, kind)
    if not expected[key] then
      expected[key] = kind
      keys[#keys + 1] = key
    end
  end
  local function expect_dead()
    expect(KEYS[4], 'hash')
    expect(KEYS[5], 'string')
    expect(KEYS[6], 'zset')
  end
  local function expect_chord(key, ordered)
    expect(key .. '.c', 'string')
    expect(key .. '.s', 'string')
    expect(key .. '.t', 'string')
    expect(key .. '.j', ordered == '1' and 'zset' or 'list')
  end
  if count > 0 then expect(KEYS[1], 'hash') end
  local position, skip = at, false
  while position <= #ARGV do
    local op, key = ARGV[position], ARGV[position + 1]
    if op == 'i' then
      skip = lost[tonumber(key)]
      position = position + 2
    elseif op == 'r' then
      if not skip then
        records[#records + 1] = key
        if ARGV[position + 2] ~= '' then records[#records + 1] = ARGV[position + 2] end
      end
      position = position + 1 + RECORD_ARGS
    elseif op == 'p' or op == 'b' then
      if not skip then expect(key, 'list') end
      position = position + 3
    elseif op == 'f' then
      position = position + 3
    elseif op == 'e' then
      if not skip then
        expect(delayed .. key, 'zset')
        expect(KEYS[7], 'zset')
      end
      position = position + 4
    elseif op == 'd' then
      if not skip then expect_dead() end
      position = position + 2
    elseif op == 'k' then
      if not skip then
        expect(KEYS[3], 'hash')
        expect(ARGV[position + 2], 'list')
      end
      position = position + 4
    elseif op == 'c' then
      if not skip then expect(KEYS[3], 'hash') end
      position = position + 2
    elseif op == 't' then
      if not skip then
        local chord = ARGV[position + 2]
        expect_chord(chord, ARGV[position + 5])
        expect(chord .. '.d', 'set')
        expect(chord, 'string')
      end
      position = position + 2 + PART_ARGS
    elseif op == 'w' then
      local part_count = tonumber(ARGV[position + 3])
      for part = position + 4, position + 3 + part_count do
        if not skip then expect_chord(ARGV[part], ARGV[position + 2]) end
      end
      position = position + 4 + part_count
    elseif op == 'g' then
      if not skip then
        expect(KEYS[1], 'hash')
        expect(KEYS[2], 'zset')
      end
      position = position + 3
    elseif op == 'o' then
      if not skip then expect(key .. '.c', 'string') end
      position = position + 1 + OPEN_ARGS
    elseif op == 'h' then
      if not skip then expect(key .. '.c', 'string') end
      position = position + 1 + HOLD_ARGS
    elseif op == 'x' then
      if not skip then expect(key .. '.c', 'string') end
      position = position + 1 + END_ARGS
    elseif op == 'n' then
      position = #ARGV + 1
    else
      position = position + 1
    end
  end
  -- Most results are new, and one command shows it.
  if #records > 0 and redis.call('EXISTS', unpack(records)) > 0 then
    for _, key in ipairs(records) do expect(key, 'string') end
  end
  for _, key in ipairs(keys) do
    error_key = key
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= expected[key] then
      error({ err = 'WRONGTYPE Operation against a key holding the wrong kind of value' })
    end
  end
end
local function dead_letter(document)
  error_key = KEYS[4]
  local key = redis.call('INCR', KEYS[5])
  redis.call('HSET', KEYS[4], key, document)
  redis.call('ZADD', KEYS[6], key, key)
end
local function run()
  if ARGV[at] == 'v' then
    at = at + 1
    check_types()
  end
  local position, skip_delivery, skip, heads = 0, false, false, {}
  -- The position in ARGV of the tag and the entry of a g.
  local recount_at
  while at <= #ARGV do
    local op = ARGV[at]
    error_key = ARGV[at + 1]
    if op == 'i' then
      position = tonumber(ARGV[at + 1])
      skip_delivery = lost[position]
      skip = skip_delivery
      at = at + 2
    elseif op == 'r' then
      if not skip then write_record(at + 1) end
      at = at + 1 + RECORD_ARGS
    elseif op == 'p' then
      if not skip then redis.call('LPUSH', ARGV[at + 1], ARGV[at + 2]) end
      at = at + 3
    elseif op == 'b' then
      if not skip then redis.call('RPUSH', ARGV[at + 1], ARGV[at + 2]) end
      at = at + 3
    elseif op == 'f' then
      if not skip then redis.call('PUBLISH', ARGV[at + 1], ARGV[at + 2]) end
      at = at + 3
    elseif op == 'e' then
      if not skip then
        local list = ARGV[at + 1]
        redis.call('ZADD', delayed .. list, ARGV[at + 2], ARGV[at + 3])
        heads[list] = true
      end
      at = at + 4
    elseif op == 'd' then
      if not skip then dead_letter(ARGV[at + 1]) end
      at = at + 2
    elseif op == 'k' then
      if not skip then
        error_key = KEYS[3]
        redis.call('HINCRBY', KEYS[3], ARGV[at + 1], 1)
        error_key = ARGV[at + 2]
        redis.call('RPUSH', ARGV[at + 2], ARGV[at + 3])
      end
      at = at + 4
    elseif op == 'c' then
      error_key = KEYS[3]
      if not skip then redis.call('HDEL', KEYS[3], ARGV[at + 1]) end
      at = at + 2
    elseif op == 't' then
      error_key = ARGV[at + 2]
      if not skip then
        local _, structure, parts = count_part(at + 2)
        if parts then
          answer[#answer + 1] = { tonumber(ARGV[at + 1]), structure, parts }
          comes_again = true
          if recount_at then
            error_key = KEYS[1]
            redis.call('HSET', KEYS[1], ARGV[recount_at], ARGV[recount_at + 1])
            redis.call('ZADD', KEYS[2], now, ARGV[recount_at])
          else
            stay_in_flight = stay_in_flight or {}
            skip_delivery, skip, stay_in_flight[position] = true, true, true
          end
        end
      end
      recount_at = nil
      at = at + 2 + PART_ARGS
    elseif op == 'w' then
      local part_count = tonumber(ARGV[at + 3])
      for key = at + 4, at + 3 + part_count do
        error_key = ARGV[key]
        if not skip and may_complete(ARGV[key], part_count, ARGV[at + 2] == '1') then
          answer[#answer + 1] = { tonumber(ARGV[at + 1]) }
          comes_again = true
          skip_delivery, skip = true, true
        end
      end
      at = at + 4 + part_count
    elseif op == 'g' then
      recount_at = at + 1
      at = at + 3
    elseif op == 'o' then
      if not skip then open_chord(at + 1) end
      at = at + 1 + OPEN_ARGS
    elseif op == 'h' then
      skip = skip_delivery or not renew_body_claim(at + 1)
      at = at + 1 + HOLD_ARGS
    elseif op == 'x' then
      if not skip then end_chord(at + 1) end
      at = at + 1 + END_ARGS
    elseif op == 'n' then
      claim_at, at = at + 1, #ARGV + 1
    else
      skip = skip_delivery
      at = at + 1
    end
  end
  error_key = KEYS[7]
  local before, after = nil, nil
  if next(heads) then before = redis.call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2] end
  for list in pairs(heads) do
    redis.call('ZADD', KEYS[7], redis.call('ZRANGE', delayed .. list, 0, 0, 'WITHSCORES')[2], list)
  end
  if next(heads) then
    after = redis.call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2]
    if after ~= before then redis.call('PUBLISH', channel, after) end
  end
end
-- Puts the tags back into the index. Returns the error.
local function restore(key, failure)
  for n = 1, count do
    if not lost[n] then redis.call('ZADD', KEYS[2], now, ARGV[4 + n]) end
  end
  return error_about(key, failure)
end
local ok, failure = pcall(run)
if not ok then return restore(error_key, failure) end
if stay_in_flight then
  -- The run has ended, so this score does not say that it has started: if the worker dies now, that is no crash of the
  -- message.
  for n = 1, count do
    if stay_in_flight[n] then
      redis.call('ZADD', KEYS[2], now, ARGV[4 + n])
    else
      redis.call('HDEL', KEYS[1], ARGV[4 + n])
    end
  end
elseif count > 0 then
  local removed = redis.pcall('HDEL', KEYS[1], unpack(ARGV, 5, 4 + count))
  if type(removed) == 'table' then return restore(KEYS[1], removed) end
end
if claim_at and not comes_again then
  -- What is settled is settled, whatever becomes of the claim: a later one shows the error.
  local done, claimed = pcall(claim, claim_at)
  answer[#answer + 1] = done and not claimed.err and claimed or { 'failed' }
end
return answer
