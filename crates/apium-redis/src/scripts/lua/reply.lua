-- Puts replies on the lists of those who wait for them. A reply that nobody waits for is dropped, as kombu does it.
--
-- KEYS  the bindings of the exchange
-- ARGV  separator, prefix of all keys, how many replies a list keeps, after how many milliseconds without a reply it is
--       deleted; then three for each reply: its routing key, the queue that usually has that key, its envelope
-- Returns how many were put on a list.
local separator, prefix, most, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local members
local function queues_of(key, usual)
  if redis.call('SISMEMBER', KEYS[1], key .. separator .. separator .. usual) == 1 then return { usual } end
  members = members or redis.call('SMEMBERS', KEYS[1])
  local found = {}
  for _, member in ipairs(members) do
    local first, last = string.find(member, separator, 1, true)
    if first and string.sub(member, 1, first - 1) == key then
      local _, pattern_end = string.find(member, separator, last + 1, true)
      if pattern_end then found[#found + 1] = string.sub(member, pattern_end + 1) end
    end
  end
  return found
end
local count = 0
for at = 5, #ARGV, 3 do
  for _, queue in ipairs(queues_of(ARGV[at], ARGV[at + 1])) do
    local list = prefix .. queue
    local length = redis.pcall('LPUSH', list, ARGV[at + 2])
    if type(length) == 'table' then
      return redis.error_reply(length.err .. ' (the key ' .. string.format('%q', list) .. ')')
    end
    if length > most then redis.call('LTRIM', list, 0, most - 1) end
    redis.call('PEXPIRE', list, ttl)
    count = count + 1
  end
end
return count
