-- Requeues dead messages to the lists that they came from, and deletes their crash counts.
--
-- KEYS  dead, dead.order, crashes
-- ARGV  four for each message: its number, its list, its envelope, its delivery tag
-- Returns how many of them were in the dead set.
--
-- A message is pushed before it is deleted: if its list has another type, it stays in the dead set.
local count = 0
for at = 1, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then
    redis.call('LPUSH', ARGV[at + 1], ARGV[at + 2])
    redis.call('HDEL', KEYS[1], ARGV[at])
    redis.call('ZREM', KEYS[2], ARGV[at])
    redis.call('HDEL', KEYS[3], ARGV[at + 3])
    count = count + 1
  end
end
return count
