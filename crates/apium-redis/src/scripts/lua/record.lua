-- Writing one result under the overwrite rule (`may_replace` in apium-transport). A part of other scripts.
--
-- write_record(at) reads ARGV[at] and the six behind it, as `record.rs` makes them, and answers 1 when the document was
-- written and published, 0 when the one that is there was kept:
--   key, key of the run's mark where one may be written, document, time to live in ms or '',
--   's' for SUCCESS, 'r' for another ready state, 'n' for one that is not ready,
--   retries and delivery of the run, or '' and '' for a write from outside a run
--
-- What is not there costs SET and PUBLISH; a state that is not final leaves its run's mark beside it. A mark names the document
-- it was written with, since a worker of Celery writes another document and leaves the mark as it is. Deliveries are compared
-- as texts: a number of Lua does not hold them.

local RECORD_ARGS = 7

-- What is known of a stored document: 's', 'r' or 'n' as above.
local function class_of(document)
  local status = string.match(document, '^{"status": ?"([%w_]+)"')
  if not status then
    local first = string.byte(document, 1) or 0x20
    if string.find(document, '^%s*{') then
      local read, map = pcall(cjson.decode, document)
      status = read and type(map) == 'table' and map.status
    elseif first == 0 or first == 0x80 then
      -- Compressed, or pickled: its state cannot be read here. A ready state replaces it, and nothing else does.
      return 'r'
    elseif first > 0x80 and first < 0x90 or first == 0xde then
      -- msgpack, as Celery writes it: `status` comes first.
      local head = string.sub(document, 1, 16)
      status = string.find(head, '\166status\167SUCCESS', 1, true) and 'SUCCESS'
        or string.find(head, '\166status\167FAILURE', 1, true) and 'FAILURE'
        or string.find(head, '\166status\167REVOKED', 1, true) and 'REVOKED'
    else
      -- YAML: keys of the document begin their lines.
      status = string.match('\n' .. document, '\nstatus: ([%w_]+)')
    end
  end
  if status == 'SUCCESS' then return 's' end
  if status == 'FAILURE' or status == 'REVOKED' then return 'r' end
  return 'n'
end

-- Whether a state that is not ready replaces `old`.
local function run_replaces(at, old, class)
  local mark = ARGV[at + 5] ~= '' and redis.call('GET', ARGV[at + 1])
  if mark then
    local retries, delivery, print = string.match(mark, '^(%d+) (%d+) (%x+)$')
    if print == redis.sha1hex(old) then
      local before, now = tonumber(retries), tonumber(ARGV[at + 5])
      if now ~= before then return now > before end
      return class == 'n' or delivery ~= ARGV[at + 6]
    end
  end
  return class == 'n'
end

local function write_record(at)
  local key, document, ttl, class = ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  -- Celery's expiry is in whole seconds.
  local unit = 'PX'
  if string.sub(ttl, -3) == '000' then unit, ttl = 'EX', string.sub(ttl, 1, -4) end
  local set
  if ttl == '' then
    set = redis.call('SET', key, document, 'NX')
  else
    set = redis.call('SET', key, document, unit, ttl, 'NX')
  end
  if not set then
    local old = redis.call('GET', key)
    local old_class = class_of(old)
    if old_class == 's' or class == 'n' and not run_replaces(at, old, old_class) then return 0 end
    if ttl == '' then
      redis.call('SET', key, document)
    else
      redis.call('SET', key, document, unit, ttl)
    end
  end
  if class ~= 's' and ARGV[at + 5] ~= '' then
    local mark = ARGV[at + 5] .. ' ' .. ARGV[at + 6] .. ' ' .. redis.sha1hex(document)
    if ttl == '' then
      redis.call('SET', ARGV[at + 1], mark)
    else
      redis.call('SET', ARGV[at + 1], mark, unit, ttl)
    end
  elseif not set then
    -- Nothing lies beside a final result.
    redis.call('DEL', (string.gsub(key, 'celery%-task%-meta%-', '_apium.run.', 1)))
  end
  redis.call('PUBLISH', key, document)
  return 1
end
