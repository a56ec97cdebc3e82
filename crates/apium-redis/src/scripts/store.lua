-- Writes results in the order given.
--
-- ARGV  the records, RECORD_ARGS arguments each
-- Answers a text with 1 for each that was written and 0 for each that was kept.
local answer = {}
for at = 1, #ARGV, RECORD_ARGS do answer[#answer + 1] = write_record(at) end
return table.concat(answer)
