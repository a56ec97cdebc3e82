-- Stores a fanout message in a list, unless another consumer of the queue has stored it.
--
-- KEYS  the key that says that it is stored, the list
-- ARGV  after how many seconds that key expires, the envelope
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  return redis.call('LPUSH', KEYS[2], ARGV[2])
end
return 0
