-- Writes records that all workers share, and drops what is too old or too much.
--
-- KEYS  the times of the records, their values
-- ARGV  how many records are kept, the time of the oldest that is kept ('' for no bound), how many this call drops at
--       most for each of the two reasons; then three for each record: its time in microseconds, its key, its value
-- Returns how many were dropped for lack of room, and 1 if more must go.
local function call(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    error({ err = answer.err .. ' (the key ' .. string.format('%q', key) .. ')' })
  end
  return answer
end
local function run()
  local times, values, step = KEYS[1], KEYS[2], tonumber(ARGV[3])
  for at = 4, #ARGV, 3 do
    call(values, 'HSET', ARGV[at + 1], ARGV[at + 2])
    call(times, 'ZADD', ARGV[at], ARGV[at + 1])
  end
  local old = {}
  if ARGV[2] ~= '' then
    old = call(times, 'ZRANGEBYSCORE', '-inf', '(' .. ARGV[2], 'LIMIT', 0, step)
    if #old > 0 then
      call(times, 'ZREM', unpack(old))
      call(values, 'HDEL', unpack(old))
    end
  end
  if #old == step then return { 0, 1 } end
  local over = call(times, 'ZCARD') - tonumber(ARGV[1])
  if over <= 0 then return { 0, 0 } end
  local popped, gone = call(times, 'ZPOPMIN', math.min(over, step)), {}
  for at = 1, #popped, 2 do gone[#gone + 1] = popped[at] end
  call(values, 'HDEL', unpack(gone))
  return { #gone, over > step and 1 or 0 }
end
local ok, answer = pcall(run)
if ok then return answer end
return redis.error_reply(type(answer) == 'table' and answer.err or tostring(answer))
