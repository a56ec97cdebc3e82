-- Claims messages from lists and puts them in flight, in one step: every claimed message is in unacked. Other scripts
-- begin with this text.
--
-- KEYS  unacked, index, …; the last one is leases
-- claim(at) reads its arguments from ARGV[at] on. `claim.rs` writes them:
--   now, now as the time of a started run, consumer, tag prefix, first number, how many messages are wanted, how many of
--   them begin at once, after how many bytes no more are taken or ''; then three for each list: its key or '', its
--   handoff list or '', and the text after the envelope in unacked: ', "", "queue"]'
-- It returns the counts of all lists as one text, then the envelopes in order. The tag of the n-th envelope, counted
-- from 0, has the number first + n. It returns 'gone' if the consumer was reclaimed: nobody would reclaim what it claims
-- now.
--
-- Those that begin at once are marked as started. A message that was delivered before is not: it may be the one that
-- kills workers.
--
-- It pops first, because Redis never refuses a script for lack of memory once it has written. If the messages cannot be
-- put in flight (a key has another type), they return to their lists. A list of another type does not stop the others:
-- it is an error only if the others gave nothing.
local function claim(at)
  local now, started, prefix, number = ARGV[at], ARGV[at + 1], ARGV[at + 3], tonumber(ARGV[at + 4])
  local wanted, begin, room = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local leases, consumer, lists = KEYS[#KEYS], ARGV[at + 2], at + 8
  local answer, counts, entries, scores, sources = { '' }, {}, {}, {}, {}
  local first_error
  local function error_about(key, failure)
    return redis.error_reply(failure.err .. ' (the key ' .. string.format('%q', key) .. ')')
  end
  local function is_gone()
    local score = redis.call('ZSCORE', leases, consumer)
    return not score or score == 'inf'
  end
  -- Takes what was popped from a list.
  local function take(items, list, suffix)
    for _, envelope in ipairs(items) do
      local tag = prefix .. string.format('%.0f', number)
      number = number + 1
      entries[#entries + 1] = tag
      entries[#entries + 1] = '[' .. envelope .. suffix
      local begins = begin > 0 and not string.find(envelope, '"redelivered"', 1, true)
      begin = begin - 1
      scores[#scores + 1] = begins and started or now
      scores[#scores + 1] = tag
      answer[#answer + 1] = envelope
      sources[#answer] = list
      if room then room = room - #envelope end
    end
    wanted = wanted - #items
    if room and room <= 0 then wanted = 0 end
  end
  -- Reclaiming a consumer closes its handoff lists. So a claim from handoff lists alone needs no look at the lease.
  local only_handoffs = true
  for list = lists, #ARGV, 3 do only_handoffs = only_handoffs and ARGV[list] == '' end
  if not only_handoffs and is_gone() then return { 'gone' } end
  for next_list = lists, #ARGV, 3 do
    local before, suffix = #answer, ARGV[next_list + 2]
    for _, list in ipairs({ ARGV[next_list + 1], ARGV[next_list] }) do
      local more = list ~= ''
      while more and wanted > 0 do
        -- With a limit of bytes a few at a time.
        local most = room and math.min(wanted, 16) or wanted
        local items = redis.pcall('RPOP', list, most)
        if items and items.err then
          first_error, items = first_error or error_about(list, items), nil
        end
        if items then take(items, list, suffix) end
        more = items and #items == most
      end
    end
    counts[#counts + 1] = #answer - before
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
end
