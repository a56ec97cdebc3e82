-- Returns messages from handoff lists to the front of the lists that they came from, if nobody has claimed them.
--
-- KEYS  pairs: handoff list, list that its message came from; to reclaim a consumer, then leases
-- ARGV  nothing; or to reclaim a consumer: the consumer, the deadline of its expired lease or '' (not checked), and for
--       how many seconds its handoff lists stay closed
-- Returns how many messages it returned; nil if the lease is no longer the one with this deadline. A list of another
-- type does not stop the others.
--
-- Reclaiming a consumer also closes it: its lease becomes 'inf', which no heartbeat changes. The entry with '!' beside
-- it lets another consumer go on if this one dies. Each handoff list becomes a key that is not a list. So neither a
-- blocking wait nor a late claim can take a message under the name of a consumer that nobody reclaims again.
local pairs_end = #KEYS - #KEYS % 2
-- LTRIM removes nothing here, but it counts as a write. Redis never refuses a script for lack of memory once it has
-- written.
redis.pcall('LTRIM', KEYS[1], 0, -1)
if ARGV[1] then
  local leases = KEYS[#KEYS]
  local score = redis.call('ZSCORE', leases, ARGV[1])
  if ARGV[2] ~= '' and score ~= 'inf' then
    if not score or tonumber(score) ~= tonumber(ARGV[2]) then
      redis.call('ZREM', leases, '!' .. ARGV[1])
      return false
    end
    redis.call('ZADD', leases, 'inf', ARGV[1], score, '!' .. ARGV[1])
  end
end
local count, first_error = 0, nil
for at = 1, pairs_end, 2 do
  local moved = redis.call('TYPE', KEYS[at]).ok == 'list'
  while moved do
    moved = redis.pcall('LMOVE', KEYS[at], KEYS[at + 1], 'LEFT', 'RIGHT')
    if type(moved) == 'table' then
      first_error = first_error or moved.err .. ' (the key ' .. string.format('%q', KEYS[at + 1]) .. ')'
      moved = nil
    elseif moved then
      count = count + 1
    end
  end
  -- A message that could not be returned stays here until it can.
  if ARGV[1] and redis.call('TYPE', KEYS[at]).ok ~= 'list' then redis.call('SET', KEYS[at], 'buried', 'EX', ARGV[3]) end
end
if first_error then return redis.error_reply(first_error) end
return count
