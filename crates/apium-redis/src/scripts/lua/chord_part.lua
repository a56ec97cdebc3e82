-- Counts a part of a chord. chord.lua stands before it.
--
-- KEYS  that of the group, so that a cluster knows where it belongs
-- ARGV  the part, as count_part reads it; behind it anything, where a part that may be the last one is not to be counted
-- Answers what count_part answers, the parts behind the rest; 'last' when it was not counted.
local function run()
  if ARGV[1 + PART_ARGS] and nears_end(ARGV[1], 1, ARGV[4] == '1') then return 'last' end
  return count_part(1)
end
local done, word, structure, parts = pcall(run)
if not done then return failed_chord(word) end
if not parts then return { word } end
table.insert(parts, 1, structure)
table.insert(parts, 1, word)
return parts
