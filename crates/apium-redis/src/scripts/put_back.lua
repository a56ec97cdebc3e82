-- Returns what waits have moved, and nobody claimed, to the front of where it was.
--
-- KEYS  pairs: the list of a wait's message, the list it came from
-- Answers how many there were.
local count = 0
for at = 1, #KEYS, 2 do
  while redis.call('LMOVE', KEYS[at], KEYS[at + 1], 'LEFT', 'RIGHT') do count = count + 1 end
end
return count
