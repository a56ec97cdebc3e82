-- Stores a fanout message in a list, unless another consumer of the queue has stored it.
--
-- KEYS  the key that says that it is stored, the list
-- ARGV  after how many seconds that key expires, the envelope
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local length = redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
return length
