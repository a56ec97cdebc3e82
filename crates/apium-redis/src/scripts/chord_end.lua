-- Ends a chord. chord.lua stands before it.
--
-- KEYS  that of the group, so that a cluster knows where it belongs
-- ARGV  the chord and its end, as end_chord reads them
return end_chord(1)
