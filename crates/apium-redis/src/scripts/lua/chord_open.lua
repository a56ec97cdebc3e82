-- Begins to count the parts of a chord. chord.lua stands before it.
--
-- KEYS  that of the group, so that a cluster knows where it belongs
-- ARGV  the chord, as open_chord reads it
local done, answer = pcall(open_chord, 1)
return done and answer or failed_chord(answer)
