-- Ends a chord. chord.lua comes before this text.
--
-- KEYS  the key of the group, so that a cluster can route the script
-- ARGV  the chord and its end, as end_chord reads them
local ok, answer = pcall(end_chord, 1)
return ok and answer or chord_error(answer)
