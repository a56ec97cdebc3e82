-- Removes records that all workers share.
--
-- KEYS  the times of the records, their values
-- ARGV  the keys of the records
-- Returns how many there were.
redis.call('HDEL', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
