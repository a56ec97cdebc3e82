-- Takes messages from lists and notes that they are out, in one step: what is taken always stands in unacked.
--
-- KEYS  unacked, index, the consumers that count as alive
-- ARGV  now, consumer, tag prefix, first number, how many, and for each list: its name or '', the list of a wait's message or '', and
--       what follows the envelope in unacked: ', "", "queue"]'
-- Answers the counts of each list as one text, then the envelopes in order; the n-th has the tag of the first number + n. To a
-- consumer that others have buried it answers 'gone': what it took nobody would look for.
--
-- Taking comes first, since a script that has written is not refused for lack of memory; should noting fail all the same (a
-- key of another type), what was taken goes back to where it was. A list of another type does not hold up the others: it is
-- an error only when they gave nothing.
local now, prefix, number, left = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local answer, counts, entries, scores, from = { '' }, {}, {}, {}, {}
local trouble
local function about(key, failure)
  return redis.error_reply(failure.err .. ' (the key ' .. string.format('%q', key) .. ')')
end
local function is_gone()
  local score = redis.call('ZSCORE', KEYS[3], ARGV[2])
  return not score or score == 'inf'
end
-- A burial leaves no list where waits move messages to, so a claim of nothing else needs no look at who is alive.
local waited = true
for at = 6, #ARGV, 3 do waited = waited and ARGV[at] == '' end
if not waited and is_gone() then return { 'gone' } end
for at = 6, #ARGV, 3 do
  local count, suffix = 0, ARGV[at + 2]
  for _, list in ipairs({ ARGV[at + 1], ARGV[at] }) do
    local items = left > 0 and list ~= '' and redis.pcall('RPOP', list, left)
    if items and items.err then
      trouble, items = trouble or about(list, items), nil
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
        from[#answer] = list
      end
      count = count + #items
      left = left - #items
    end
  end
  counts[#counts + 1] = count
end
if #scores > 0 then
  local key, noted = KEYS[1], redis.pcall('HSET', KEYS[1], unpack(entries))
  if type(noted) ~= 'table' then
    key, noted = KEYS[2], redis.pcall('ZADD', KEYS[2], unpack(scores))
  end
  if type(noted) == 'table' then
    for n = #answer, 2, -1 do redis.call('RPUSH', from[n], answer[n]) end
    for n = 1, #entries, 2 do redis.pcall('HDEL', KEYS[1], entries[n]) end
    return about(key, noted)
  end
elseif trouble then
  if is_gone() then return { 'gone' } end
  return trouble
end
answer[1] = table.concat(counts, ' ')
return answer
