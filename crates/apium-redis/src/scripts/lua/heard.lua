-- Puts a message that was heard into a list, unless another consumer of its queue has done so.
--
-- KEYS  the sign that it was done, the list
-- ARGV  how many seconds the sign lasts, the envelope
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  return redis.call('LPUSH', KEYS[2], ARGV[2])
end
return 0
