-- Begins to count the parts of a chord. chord.lua comes before this text.
--
-- KEYS  the key of the group, so that a cluster can route the script
-- ARGV  the chord, as open_chord reads it
local ok, answer = pcall(open_chord, 1)
return ok and answer or chord_error(answer)
