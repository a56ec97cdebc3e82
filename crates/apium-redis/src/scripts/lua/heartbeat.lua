-- Sends a heartbeat: a ZADD that also works when memory is full. Redis never refuses a script for lack of memory once
-- it has written, and a ZREM that removes nothing counts as a write.
--
-- KEYS  a sorted set
-- ARGV  the arguments of ZADD after the key
redis.call('ZREM', KEYS[1], '')
return redis.call('ZADD', KEYS[1], unpack(ARGV))
