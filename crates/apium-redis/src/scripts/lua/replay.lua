-- Puts dead messages back on the lists they came from, with their crashes forgotten.
--
-- KEYS  dead, dead.order, crashes
-- ARGV  for each: its number, its list, its envelope, its delivery tag
-- Answers how many were there.
local count = 0
for at = 1, #ARGV, 4 do
  if redis.call('HDEL', KEYS[1], ARGV[at]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[at])
    redis.call('HDEL', KEYS[3], ARGV[at + 3])
    redis.call('LPUSH', ARGV[at + 1], ARGV[at + 2])
    count = count + 1
  end
end
return count
