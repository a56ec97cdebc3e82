-- Ends a chord. chord.lua stands before it.
--
-- KEYS  that of the group, so that a cluster knows where it belongs
-- ARGV  the chord and its end, as end_chord reads them
local done, answer = pcall(end_chord, 1)
return done and answer or failed_chord(answer)
