-- Counts a part of a chord. chord.lua stands before it.
--
-- KEYS  that of the group, so that a cluster knows where it belongs
-- ARGV  the part, as count_part reads it
-- Answers what count_part answers, the parts behind the rest.
local done, word, structure, parts = pcall(count_part, 1)
if not done then return failed_chord(word) end
if not parts then return { word } end
table.insert(parts, 1, structure)
table.insert(parts, 1, word)
return parts
