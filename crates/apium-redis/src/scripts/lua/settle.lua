-- The end of deliveries in one step: results, follow-ups, and what becomes of the messages. record.lua stands before it, and
-- chord.lua where there are operations of chords (o, w, g, t, h, x).
--
-- KEYS  unacked, index, crashes, dead, dead.last, dead.order, eta
-- ARGV  what begins the keys of delayed messages, the channel of etas, now; the number of tags, the tags; then operations:
--         i N              what follows belongs to the N-th tag (0: to none)
--         r …              a record, as write_record reads it
--         p list envelope  to the end of a list             b list envelope  to its front
--         e list due envelope   delayed                      f channel payload  published
--         d document       into the dead set                c tag     its crashes are forgotten
--         k tag limit list envelope document     one crash more: to the front of its list, or, at the limit, into the dead set
--         o …              a chord begins, as open_chord reads it
--         w number ordered n key…   n parts of these chords come behind it: nothing of what follows is done, up to the next i, when they
--                          may complete one of them
--         g tag entry      should the part behind it be the last one, this is held under the tag like a delivery
--         t number …       a part of a chord, as count_part reads it
--         h …, u           what follows of this delivery is left out unless the claim of holds_chord is held, or is not any more
--         x …              a chord ends, as end_chord reads it
-- Answers which of the tags were not held any more: what belongs to them is left out. The number of each w that left out what follows,
-- in a list. And for each part that was the last of its chord its number, the structure or false, the parts: what is behind it of its
-- delivery is left out, and the delivery stays; unless there was a g for it.
--
-- Removing the tags comes first, since a script that has written is not refused for lack of memory; should something fail
-- after it, they are put back. `doing` is what the error names.
local delayed, channel, now = ARGV[1], ARGV[2], ARGV[3]
local count = tonumber(ARGV[4])
local at = 5 + count
local lost, answer = {}, {}
-- The deliveries that are left out.
local stays
local doing = ''
local function about(key, failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  return redis.error_reply(text .. ' (at ' .. string.format('%q', key) .. ')')
end
if count > 0 then
  local removed = redis.pcall('ZREM', KEYS[2], unpack(ARGV, 5, 4 + count))
  if type(removed) == 'table' then return about(KEYS[2], removed) end
  if removed < count then
    for n = 1, count do
      if redis.call('HEXISTS', KEYS[1], ARGV[4 + n]) == 0 then
        lost[n] = true
        answer[#answer + 1] = n
      end
    end
  end
end
local function bury(document)
  doing = KEYS[4]
  local key = redis.call('INCR', KEYS[5])
  redis.call('HSET', KEYS[4], key, document)
  redis.call('ZADD', KEYS[6], key, key)
end
local function run()
  local current, out, skip, heads = 0, false, false, {}
  -- Where the tag and the entry of a g stand.
  local kept
  while at <= #ARGV do
    local op = ARGV[at]
    doing = ARGV[at + 1]
    if op == 'i' then
      current = tonumber(ARGV[at + 1])
      out = lost[current]
      skip = out
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
      if not skip then bury(ARGV[at + 1]) end
      at = at + 2
    elseif op == 'k' then
      if not skip then
        local limit = tonumber(ARGV[at + 2])
        doing = KEYS[3]
        if limit > 0 and redis.call('HINCRBY', KEYS[3], ARGV[at + 1], 1) >= limit then
          redis.call('HDEL', KEYS[3], ARGV[at + 1])
          bury(ARGV[at + 5])
        else
          doing = ARGV[at + 3]
          redis.call('RPUSH', ARGV[at + 3], ARGV[at + 4])
        end
      end
      at = at + 6
    elseif op == 'c' then
      doing = KEYS[3]
      if not skip then redis.call('HDEL', KEYS[3], ARGV[at + 1]) end
      at = at + 2
    elseif op == 't' then
      doing = ARGV[at + 2]
      if not skip then
        local _, structure, parts = count_part(at + 2)
        if parts then
          answer[#answer + 1] = { tonumber(ARGV[at + 1]), structure, parts }
          if kept then
            doing = KEYS[1]
            redis.call('HSET', KEYS[1], ARGV[kept], ARGV[kept + 1])
            redis.call('ZADD', KEYS[2], now, ARGV[kept])
          else
            stays = stays or {}
            out, skip, stays[current] = true, true, true
          end
        end
      end
      kept = nil
      at = at + 2 + PART_ARGS
    elseif op == 'w' then
      local behind = tonumber(ARGV[at + 3])
      for key = at + 4, at + 3 + behind do
        doing = ARGV[key]
        if not skip and nears_end(ARGV[key], behind, ARGV[at + 2] == '1') then
          answer[#answer + 1] = { tonumber(ARGV[at + 1]) }
          out, skip = true, true
        end
      end
      at = at + 4 + behind
    elseif op == 'g' then
      kept = at + 1
      at = at + 3
    elseif op == 'o' then
      if not skip then open_chord(at + 1) end
      at = at + 1 + OPEN_ARGS
    elseif op == 'h' then
      skip = out or not holds_chord(at + 1)
      at = at + 1 + HOLD_ARGS
    elseif op == 'x' then
      if not skip then end_chord(at + 1) end
      at = at + 1 + END_ARGS
    else
      skip = out
      at = at + 1
    end
  end
  doing = KEYS[7]
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
local done, failure = pcall(run)
if not done then
  for n = 1, count do
    if not lost[n] then redis.call('ZADD', KEYS[2], now, ARGV[4 + n]) end
  end
  return about(doing, failure)
end
if stays then
  -- Its run has ended: should its worker die now, that is no crash of it, and so it has no mark of a run.
  for n = 1, count do
    if stays[n] then
      redis.call('ZADD', KEYS[2], now, ARGV[4 + n])
    else
      redis.call('HDEL', KEYS[1], ARGV[4 + n])
    end
  end
elseif count > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 5, 4 + count))
end
return answer
