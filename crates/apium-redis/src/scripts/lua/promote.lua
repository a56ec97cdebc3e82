-- Promotes delayed messages that are due: they move to the end of their lists.
--
-- KEYS  eta
-- ARGV  key prefix of delayed messages, channel of etas, the time that counts as now, how many messages at most
-- Returns how many messages it promoted, when the next one is due ('' if none is delayed), and an error, if any: a list
-- of another type keeps its delayed messages, and does not hold up the others.
local moved, left, failure = 0, tonumber(ARGV[4]), ''
for _, list in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, 64)) do
  local key = ARGV[1] .. list
  local due = left > 0 and redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[3], 'LIMIT', 0, left) or {}
  for first = 1, #due, 1000 do
    local last = math.min(first + 999, #due)
    local pushed = redis.pcall('LPUSH', list, unpack(due, first, last))
    if type(pushed) == 'table' then
      failure = pushed.err .. ' (the key ' .. string.format('%q', list) .. ')'
      break
    end
    redis.call('ZREM', key, unpack(due, first, last))
    moved = moved + last - first + 1
    left = left - (last - first + 1)
  end
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if head then redis.call('ZADD', KEYS[1], head, list) else redis.call('ZREM', KEYS[1], list) end
end
local next_due = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or ''
if moved > 0 then redis.call('PUBLISH', ARGV[2], next_due) end
return { moved, next_due, failure }
