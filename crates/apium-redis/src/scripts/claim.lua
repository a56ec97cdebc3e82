-- Takes messages from lists and notes that they are out, in one step: what is taken always stands in unacked.
--
-- KEYS  unacked, index
-- ARGV  now, tag prefix, first number, how many, and for each list: its name, the list of a wait's message or '', and what
--       follows the envelope in unacked: ', "", "queue"]'
-- Answers the counts of each list as one text, then the envelopes in order; the n-th has the tag of the first number + n.
local now, prefix, number, left = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, counts, entries, scores = { '' }, {}, {}, {}
for at = 5, #ARGV, 3 do
  local count, suffix = 0, ARGV[at + 2]
  local function note(items)
    if not items then return end
    for _, envelope in ipairs(items) do
      local tag = prefix .. string.format('%.0f', number)
      number = number + 1
      entries[#entries + 1] = tag
      entries[#entries + 1] = '[' .. envelope .. suffix
      scores[#scores + 1] = now
      scores[#scores + 1] = tag
      answer[#answer + 1] = envelope
    end
    count = count + #items
    left = left - #items
  end
  if left > 0 and ARGV[at + 1] ~= '' then note(redis.call('RPOP', ARGV[at + 1], left)) end
  if left > 0 and ARGV[at] ~= '' then note(redis.call('RPOP', ARGV[at], left)) end
  counts[#counts + 1] = count
end
if #scores > 0 then
  redis.call('HSET', KEYS[1], unpack(entries))
  redis.call('ZADD', KEYS[2], unpack(scores))
end
answer[1] = table.concat(counts, ' ')
return answer
