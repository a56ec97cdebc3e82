-- Writes results in the given order. record.lua comes before this text.
--
-- KEYS  the key of the first record, so that a cluster can route the script
-- ARGV  the records, RECORD_ARGS arguments each
-- Returns a text with a 1 for each record that was written and a 0 for each that was not.
local answer = {}
for at = 1, #ARGV, RECORD_ARGS do
  local ok, written = pcall(write_record, at)
  if not ok then
    local text = type(written) == 'table' and written.err or tostring(written)
    return redis.error_reply(text .. ' (the key ' .. string.format('%q', ARGV[at]) .. ')')
  end
  answer[#answer + 1] = written
end
return table.concat(answer)
