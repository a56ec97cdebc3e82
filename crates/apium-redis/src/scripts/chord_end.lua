-- Ends a chord for the one that has the claim on its body.
--
-- KEYS  claim (.c), parts (.j), growth (.t), size (.s), counted (.d)
-- ARGV  claimant, for how long copies of parts are told that the body was sent, in seconds; '' when it was failed
-- Answers 1, or 0 when the claim was lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  -- Without a size it is never complete again. The parts stay for their time, as with Celery.
  redis.call('DEL', KEYS[4])
else
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call('SET', KEYS[1], 'done', 'EX', ARGV[2])
end
return 1
