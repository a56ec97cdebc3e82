-- Counts a part of a chord, as Celery 5.7 counts it: both may end parts of the same chord.
--
-- KEYS  parts (.j), growth (.t), size (.s), counted (.d), claim (.c), structure of the results
-- ARGV  task id, part, '1' for an ordered chord, place in it, time to live in ms or '', duration of a claim in ms, claimant
-- Answers 'fired'; 'waiting'; or, to the one that has the claim on the body: 'complete', the structure or false, the parts.
local parts, growth, size, counted, claim, structure = unpack(KEYS)
local ordered, place, ttl = ARGV[3] == '1', ARGV[4], ARGV[5]
if redis.call('GET', claim) == 'done' then return { 'fired' } end
-- A header may hold one task id at several places.
if redis.call('SADD', counted, ARGV[1] .. ':' .. place) == 1 then
  if ordered then
    redis.call('ZADD', parts, place, ARGV[2])
  else
    redis.call('RPUSH', parts, ARGV[2])
  end
end
if ttl ~= '' then
  for _, key in ipairs(KEYS) do
    if key ~= claim then redis.call('PEXPIRE', key, ttl) end
  end
end
local wanted = redis.call('GET', size)
if not wanted then return { 'waiting' } end
wanted = tonumber(wanted) + tonumber(redis.call('GET', growth) or 0)
if redis.call(ordered and 'ZCARD' or 'LLEN', parts) ~= wanted then return { 'waiting' } end
if not redis.call('SET', claim, ARGV[7], 'NX', 'PX', ARGV[6]) then
  if redis.call('GET', claim) ~= ARGV[7] then return { 'waiting' } end
  redis.call('PEXPIRE', claim, ARGV[6])
end
local answer = redis.call(ordered and 'ZRANGE' or 'LRANGE', parts, 0, -1)
table.insert(answer, 1, redis.call('GET', structure))
table.insert(answer, 1, 'complete')
return answer
