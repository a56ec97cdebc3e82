-- Reads some of the records that all workers share, the oldest first.
--
-- KEYS  the times of the records, their values
-- ARGV  how many at most, the time in microseconds from which on; and, to go on, the key of the last record that was
--       read, with its time in the place of the first one
-- Returns a list of three for each record: its key, its time, its value.
local from
if ARGV[3] and redis.call('ZSCORE', KEYS[1], ARGV[3]) == ARGV[2] then
  from = redis.call('ZRANK', KEYS[1], ARGV[3]) + 1
else
  from = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
end
local found = redis.call('ZRANGE', KEYS[1], from, from + ARGV[1] - 1, 'WITHSCORES')
if #found == 0 then return {} end
local keys, answer = {}, {}
for at = 1, #found, 2 do keys[#keys + 1] = found[at] end
local values = redis.call('HMGET', KEYS[2], unpack(keys))
for n, key in ipairs(keys) do
  answer[n] = { key, found[2 * n], values[n] }
end
return answer
