//! The dead set: a hash of letters by number, and their numbers in order.

use apium_protocol::message::envelope::encode;
use apium_transport::broker::dead_set::{DeadLetter, DeadSet, NewDeadLetter};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use redis::{Cmd, Value};

use crate::broker::RedisBroker;
use crate::dead_letter::StoredDeadLetter;
use crate::errors::unexpected_reply;
use crate::keys::queue_list::QueueList;
use crate::scripts::operation::{Operation, write};
use crate::scripts::route::fresh_tag;
use crate::scripts::script::{REPLAY, SETTLE};
use crate::shared::BrokerShared;

impl DeadSet for RedisBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("list dead messages")?;
            if limit == 0 || after == u64::MAX {
                return Ok(Vec::new());
            }
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(core.keys.dead_order()).arg(format!("({after}")).arg("+inf").arg("LIMIT").arg(0).arg(limit);
            let answer = core.connection.command("list dead messages", &command).await?;
            let keys: Vec<u64> = redis::from_redis_value(answer).map_err(|_| unexpected_reply("list dead messages"))?;
            Ok(dead_letters(core, &keys).await?.into_iter().map(|(key, letter)| letter.into_dead_letter(key)).collect())
        })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            self.shared().check_open("read a dead message")?;
            let found = dead_letters(self.shared(), &[key]).await?;
            Ok(found.into_iter().next().map(|(key, letter)| letter.into_dead_letter(key)))
        })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("keep a message")?;
            let mut operations = vec![Operation::ForDelivery(0)];
            for kept in &messages {
                let (mut envelope, tag) = (Vec::new(), fresh_tag());
                encode(&kept.message, "", &kept.queue, &tag, &mut envelope);
                let priority = kept.message.properties.priority.unwrap_or(0);
                let source = QueueList::new(&core.keys, &kept.queue, core.keys.step(priority));
                let letter =
                    StoredDeadLetter::new(&source, &tag, &envelope, &kept.reason, core.connection.clock().now());
                operations.push(Operation::AddDeadLetter(letter.to_json()?));
            }
            let fill = |command: &mut Cmd| write(core, command, std::iter::empty(), 0, &operations);
            core.connection.script("keep a message", &SETTLE, fill).await.map(drop)
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("replay dead messages")?;
            let found = dead_letters(core, &keys).await?;
            let answer = core
                .connection
                .script("replay dead messages", &REPLAY, |command| {
                    command.arg(3).arg(core.keys.dead()).arg(core.keys.dead_order()).arg(core.keys.crashes());
                    for (key, letter) in &found {
                        command.arg(*key).arg(&letter.list).arg(letter.bytes().as_ref()).arg(&letter.tag);
                    }
                })
                .await?;
            redis::from_redis_value(answer).map_err(|_| unexpected_reply("replay dead messages"))
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("remove dead messages")?;
            if keys.is_empty() {
                return Ok(0);
            }
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            pipeline.cmd("HDEL").arg(core.keys.dead()).arg(&keys);
            pipeline.cmd("ZREM").arg(core.keys.dead_order()).arg(&keys).ignore();
            let answers = core.connection.pipeline("remove dead messages", &pipeline).await?;
            let removed = answers.into_iter().next().and_then(|count| redis::from_redis_value(count).ok());
            removed.ok_or_else(|| unexpected_reply("remove dead messages"))
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let core = self.shared();
            core.check_open("count dead messages")?;
            let mut command = redis::cmd("HLEN");
            command.arg(core.keys.dead());
            let answer = core.connection.command("count dead messages", &command).await?;
            redis::from_redis_value(answer).map_err(|_| unexpected_reply("count dead messages"))
        })
    }
}

/// The letters of these numbers that are there.
async fn dead_letters(core: &BrokerShared, keys: &[u64]) -> Result<Vec<(u64, StoredDeadLetter)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("HMGET");
    command.arg(core.keys.dead()).arg(keys);
    let Value::Array(found) = core.connection.command("read dead messages", &command).await? else {
        return Err(unexpected_reply("read dead messages"));
    };
    let mut letters = Vec::new();
    for (key, document) in keys.iter().zip(found) {
        if let Value::BulkString(json) = document {
            letters.push((*key, StoredDeadLetter::from_json(*key, &json)?));
        }
    }
    Ok(letters)
}
