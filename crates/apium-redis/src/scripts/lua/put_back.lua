-- Returns what waits have moved, and nobody claimed, to the front of where it was.
--
-- KEYS  pairs: the list of a wait's message, the list it came from; for a burial the consumers that count as alive behind them
-- ARGV  nothing, or for a burial: the consumer, the deadline after which it has shown no life or '', and for how many seconds its
--       lists stay closed
-- Answers how many there were; nil when the consumer has shown life since. A list of another type does not hold up the others.
--
-- A burial also closes: the consumer's entry becomes one that no sign of life moves, beside it stands what others find when they
-- look for the dead, and where its waits move messages to there is something that is no list. So neither a wait that is still out,
-- nor a claim that comes late, takes anything under a name that nobody looks after.
local pairs_end = #KEYS - #KEYS % 2
-- Cutting off nothing counts as writing, and a script that has written is not refused for lack of memory.
redis.pcall('LTRIM', KEYS[1], 0, -1)
if ARGV[1] then
  local alive = KEYS[#KEYS]
  local score = redis.call('ZSCORE', alive, ARGV[1])
  if ARGV[2] ~= '' and score ~= 'inf' then
    if not score or tonumber(score) ~= tonumber(ARGV[2]) then
      redis.call('ZREM', alive, '!' .. ARGV[1])
      return false
    end
    redis.call('ZADD', alive, 'inf', ARGV[1], score, '!' .. ARGV[1])
  end
end
local count, trouble = 0, nil
for at = 1, pairs_end, 2 do
  local moved = redis.call('TYPE', KEYS[at]).ok == 'list'
  while moved do
    moved = redis.pcall('LMOVE', KEYS[at], KEYS[at + 1], 'LEFT', 'RIGHT')
    if type(moved) == 'table' then
      trouble = trouble or moved.err .. ' (the key ' .. string.format('%q', KEYS[at + 1]) .. ')'
      moved = nil
    elseif moved then
      count = count + 1
    end
  end
  -- What could not be moved stays until it can be.
  if ARGV[1] and redis.call('TYPE', KEYS[at]).ok ~= 'list' then redis.call('SET', KEYS[at], 'buried', 'EX', ARGV[3]) end
end
if trouble then return redis.error_reply(trouble) end
return count
