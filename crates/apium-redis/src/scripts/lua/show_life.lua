-- A ZADD that is not refused for lack of memory: a script that has written is not, and taking nothing away counts as writing.
--
-- KEYS  a sorted set
-- ARGV  what follows its name
redis.call('ZREM', KEYS[1], '')
return redis.call('ZADD', KEYS[1], unpack(ARGV))
