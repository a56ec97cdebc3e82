-- Claims messages from lists and puts them in flight, in one step: every claimed message is in unacked.
--
-- KEYS  unacked, index, leases
-- ARGV  now, consumer, tag prefix, first number, how many messages are wanted; then three for each list: its key or '',
--       its handoff list or '', and the text after the envelope in unacked: ', "", "queue"]'
-- Returns the counts of all lists as one text, then the envelopes in order. The tag of the n-th envelope, counted from
-- 0, has the number first + n. Returns 'gone' if the consumer was reclaimed: nobody would reclaim what it claims now.
--
-- The script pops first, because Redis never refuses a script for lack of memory once it has written. If the messages
-- cannot be put in flight (a key has another type), they return to their lists. A list of another type does not stop
-- the others: it is an error only if the others gave nothing.
local now, prefix, number, wanted = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local answer, counts, entries, scores, sources = { '' }, {}, {}, {}, {}
local first_error
local function error_about(key, failure)
  return redis.error_reply(failure.err .. ' (the key ' .. string.format('%q', key) .. ')')
end
local function is_gone()
  local score = redis.call('ZSCORE', KEYS[3], ARGV[2])
  return not score or score == 'inf'
end
-- Reclaiming a consumer closes its handoff lists. So a claim from handoff lists alone needs no look at the lease.
local only_handoffs = true
for at = 6, #ARGV, 3 do only_handoffs = only_handoffs and ARGV[at] == '' end
if not only_handoffs and is_gone() then return { 'gone' } end
for at = 6, #ARGV, 3 do
  local count, suffix = 0, ARGV[at + 2]
  for _, list in ipairs({ ARGV[at + 1], ARGV[at] }) do
    local items = wanted > 0 and list ~= '' and redis.pcall('RPOP', list, wanted)
    if items and items.err then
      first_error, items = first_error or error_about(list, items), nil
    end
    if items then
      for _, envelope in ipairs(items) do
        local tag = prefix .. string.format('%.0f', number)
        number = number + 1
        entries[#entries + 1] = tag
        entries[#entries + 1] = '[' .. envelope .. suffix
        scores[#scores + 1] = now
        scores[#scores + 1] = tag
        answer[#answer + 1] = envelope
        sources[#answer] = list
      end
      count = count + #items
      wanted = wanted - #items
    end
  end
  counts[#counts + 1] = count
end
if #scores > 0 then
  local key, result = KEYS[1], redis.pcall('HSET', KEYS[1], unpack(entries))
  if type(result) ~= 'table' then
    key, result = KEYS[2], redis.pcall('ZADD', KEYS[2], unpack(scores))
  end
  if type(result) == 'table' then
    for n = #answer, 2, -1 do redis.call('RPUSH', sources[n], answer[n]) end
    for n = 1, #entries, 2 do redis.pcall('HDEL', KEYS[1], entries[n]) end
    return error_about(key, result)
  end
elseif first_error then
  if is_gone() then return { 'gone' } end
  return first_error
end
answer[1] = table.concat(counts, ' ')
return answer
