-- Writes results in the order given.
--
-- KEYS  that of the first record, so that a cluster knows where it belongs
-- ARGV  the records, RECORD_ARGS arguments each
-- Answers a text with 1 for each that was written and 0 for each that was kept.
local answer = {}
for at = 1, #ARGV, RECORD_ARGS do
  local done, written = pcall(write_record, at)
  if not done then
    local text = type(written) == 'table' and written.err or tostring(written)
    return redis.error_reply(text .. ' (the key ' .. string.format('%q', ARGV[at]) .. ')')
  end
  answer[#answer + 1] = written
end
return table.concat(answer)
