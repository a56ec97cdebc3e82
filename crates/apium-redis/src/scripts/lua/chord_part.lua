-- Counts a part of a chord. chord.lua comes before this text.
--
-- KEYS  the key of the group, so that a cluster can route the script
-- ARGV  the part, as count_part reads it; then any one argument if a part that may be the last one must not be counted
-- Returns the values of count_part in one list, with the parts at the end. Returns 'last' if the part was not counted.
local function run()
  if ARGV[1 + PART_ARGS] and may_complete(ARGV[1], 1, ARGV[4] == '1') then return 'last' end
  return count_part(1)
end
local ok, outcome, structure, parts = pcall(run)
if not ok then return chord_error(outcome) end
if not parts then return { outcome } end
table.insert(parts, 1, structure)
table.insert(parts, 1, outcome)
return parts
