-- Opens a mailbox for replies as kombu does: a binding of its exchange, and a list, which begins empty. Called again,
-- it keeps the list. It also removes mailboxes that nobody has renewed, a few at a time.
--
-- KEYS  the bindings of the exchange, kombu's deadlines of bindings, the mailboxes, the list
-- ARGV  the exchange, its binding, the key of the mailbox, separator, prefix of all keys, prefix of the keys of
--       bindings, for how many milliseconds it is open, how long kombu keeps bindings, 1 if it is new
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[9] == '1' then redis.call('DEL', KEYS[4]) end
redis.call('SADD', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'GT', string.format('%.0f', now + ARGV[8]), ARGV[1])
redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[7]), ARGV[3])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 16)) do
  redis.call('ZREM', KEYS[3], gone)
  -- The exchange, and the binding: routing key, pattern (none), queue.
  local first, last = string.find(gone, ARGV[4], 1, true)
  if first then
    local binding = string.sub(gone, last + 1)
    local _, key_end = string.find(binding, ARGV[4] .. ARGV[4], 1, true)
    redis.call('SREM', ARGV[6] .. string.sub(gone, 1, first - 1), binding)
    if key_end then redis.call('DEL', ARGV[5] .. string.sub(binding, key_end + 1)) end
  end
end
return 1
