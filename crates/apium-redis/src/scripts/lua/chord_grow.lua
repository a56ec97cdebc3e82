-- Adds a part to a chord. chord.lua comes before this text.
--
-- KEYS  the key of the group, so that a cluster can route the script
-- ARGV  the chord and the part, as grow_chord reads them
local ok, answer = pcall(grow_chord, 1)
return ok and answer or chord_error(answer)
