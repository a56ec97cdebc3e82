-- Writes one result under the overwrite rule (`may_replace` in apium-transport). Other scripts begin with this text.
--
-- write_record(at) reads RECORD_ARGS arguments from ARGV[at] on. `result_args.rs` writes them:
--   key; key of the run version, if one may be written; document; time to live in ms or '';
--   's' for SUCCESS, 'r' for another ready state, 'n' for a state that is not ready;
--   retries and delivery of the run, or '' and '' for a write from outside a run
-- It returns 1 if it wrote and published the document, 0 if it kept the old one.
--
-- A new result costs SET and PUBLISH. Any state but SUCCESS also stores its run version, if it has one. The run version
-- contains the hash of its document: a Celery worker replaces the document and does not touch the run version.
-- Deliveries are compared as texts, because a Lua number cannot hold them.

local RECORD_ARGS = 7

-- The class of a stored document: 's', 'r' or 'n' as above, or 'a' for ABORTED.
local function class_of(document)
  local status = string.match(document, '^{"status": ?"([%w_]+)"')
  if not status then
    local first = string.byte(document, 1) or 0x20
    if string.find(document, '^%s*{') then
      local parsed, map = pcall(cjson.decode, document)
      -- cjson refuses what Python writes of a text that is no Unicode, and deep nesting. Only a ready state replaces it.
      if not parsed then return 'r' end
      status = type(map) == 'table' and map.status
    elseif first == 0 or first == 0x80 then
      -- The document is compressed or pickled: its state cannot be read here. Only a ready state replaces it.
      return 'r'
    elseif first > 0x80 and first < 0x90 or first == 0xde then
      -- msgpack, as Celery writes it: `status` comes first.
      local head = string.sub(document, 1, 16)
      status = string.find(head, '\166status\167SUCCESS', 1, true) and 'SUCCESS'
        or string.find(head, '\166status\167FAILURE', 1, true) and 'FAILURE'
        or string.find(head, '\166status\167REVOKED', 1, true) and 'REVOKED'
        or string.find(head, '\166status\167ABORTED', 1, true) and 'ABORTED'
    else
      -- YAML: each key of the document begins a line.
      status = string.match('\n' .. document, '\nstatus: ([%w_]+)')
    end
  end
  if status == 'SUCCESS' then return 's' end
  if status == 'FAILURE' or status == 'REVOKED' then return 'r' end
  if status == 'ABORTED' then return 'a' end
  return 'n'
end

-- Whether a state that is not ready replaces the document `old` of this class.
local function run_replaces(at, old, class)
  local version = ARGV[at + 5] ~= '' and redis.call('GET', ARGV[at + 1])
  if version then
    local retries, delivery, document_hash = string.match(version, '^(%d+) (%d+) (%x+)$')
    if document_hash == redis.sha1hex(old) then
      local before, now = tonumber(retries), tonumber(ARGV[at + 5])
      if now ~= before then return now > before end
      return class == 'n' or delivery ~= ARGV[at + 6]
    end
  end
  return class == 'n'
end

-- The time to live of the last record, as SET takes it. It is mostly the same for all of them.
local last_ttl, last_unit, last_number

local function write_record(at)
  local key, document, class = ARGV[at], ARGV[at + 2], ARGV[at + 4]
  if ARGV[at + 3] ~= last_ttl then
    last_ttl = ARGV[at + 3]
    last_unit, last_number = 'PX', last_ttl
    -- Celery writes expiry times in whole seconds.
    if string.sub(last_ttl, -3) == '000' then last_unit, last_number = 'EX', string.sub(last_ttl, 1, -4) end
  end
  local unit, ttl = last_unit, last_number
  local set
  if ttl == '' then
    set = redis.call('SET', key, document, 'NX')
  else
    set = redis.call('SET', key, document, unit, ttl, 'NX')
  end
  if not set then
    local old = redis.call('GET', key)
    local old_class = class_of(old)
    if old_class == 's' then return 0 end
    if class == 'n' and (old_class == 'a' or not run_replaces(at, old, old_class)) then return 0 end
    if ttl == '' then
      redis.call('SET', key, document)
    else
      redis.call('SET', key, document, unit, ttl)
    end
  end
  if class ~= 's' and ARGV[at + 5] ~= '' then
    local version = ARGV[at + 5] .. ' ' .. ARGV[at + 6] .. ' ' .. redis.sha1hex(document)
    if ttl == '' then
      redis.call('SET', ARGV[at + 1], version)
    else
      redis.call('SET', ARGV[at + 1], version, unit, ttl)
    end
  elseif not set then
    -- A result without a run version must not keep the old one.
    redis.call('DEL', (string.gsub(key, 'celery%-task%-meta%-', '_apium.run.', 1)))
  end
  redis.call('PUBLISH', key, document)
  return 1
end
