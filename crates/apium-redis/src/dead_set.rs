//! The dead set: a hash of dead letters by number, and their numbers in order.

use apium_protocol::message::envelope::encode;
use apium_transport::broker::dead_set::{DeadLetter, DeadSet, NewDeadLetter};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use redis::{Cmd, Value};

use crate::broker::RedisBroker;
use crate::dead_letter::StoredDeadLetter;
use crate::errors::unexpected_reply;
use crate::keys::broker_keys::QueueList;
use crate::publish::publish::fresh_tag;
use crate::scripts::operation::{Operation, write};
use crate::scripts::script::{REPLAY, SETTLE};
use crate::shared::BrokerShared;

impl DeadSet for RedisBroker {
    fn list(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("list dead messages")?;
            if limit == 0 || after == u64::MAX {
                return Ok(Vec::new());
            }
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(shared.keys.dead_order()).arg(format!("({after}")).arg("+inf").arg("LIMIT").arg(0).arg(limit);
            let answer = shared.connection.command("list dead messages", &command).await?;
            let keys: Vec<u64> = redis::from_redis_value(answer).map_err(|_| unexpected_reply("list dead messages"))?;
            let found = dead_letters(shared, &keys).await?;
            Ok(found.into_iter().map(|(key, dead_letter)| dead_letter.into_dead_letter(key)).collect())
        })
    }

    fn get(&self, key: u64) -> BoxFuture<'_, Result<Option<DeadLetter>>> {
        Box::pin(async move {
            self.shared().check_open("read a dead message")?;
            let found = dead_letters(self.shared(), &[key]).await?;
            Ok(found.into_iter().next().map(|(key, dead_letter)| dead_letter.into_dead_letter(key)))
        })
    }

    fn add(&self, messages: Vec<NewDeadLetter>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("add a message to the dead set")?;
            let mut operations = vec![Operation::ForDelivery(0)];
            let now = shared.connection.clock().now();
            for NewDeadLetter { message, queue, reason, .. } in &messages {
                let (mut envelope, tag) = (Vec::new(), fresh_tag());
                encode(message, "", queue, &tag, &mut envelope);
                let priority = message.properties.priority.unwrap_or(0);
                let queue_list = QueueList::new(&shared.keys, queue, shared.keys.step(priority));
                let dead_letter = StoredDeadLetter::new(&queue_list, &tag, &envelope, reason, now);
                operations.push(Operation::AddDeadLetter(dead_letter.to_json()?));
            }
            let fill = |command: &mut Cmd| {
                let tags = (std::iter::empty(), 0);
                write(&shared.keys, shared.connection.server_now(), command, tags, &operations);
            };
            shared.connection.script("add a message to the dead set", &SETTLE, fill).await.map(drop)
        })
    }

    fn replay(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("replay dead messages")?;
            let found = dead_letters(shared, &keys).await?;
            let answer = shared
                .connection
                .script("replay dead messages", &REPLAY, |command| {
                    command.arg(3).arg(shared.keys.dead()).arg(shared.keys.dead_order()).arg(shared.keys.crashes());
                    for (key, dead_letter) in &found {
                        command.arg(*key).arg(&dead_letter.list).arg(dead_letter.bytes().as_ref());
                        command.arg(&dead_letter.tag);
                    }
                })
                .await?;
            redis::from_redis_value(answer).map_err(|_| unexpected_reply("replay dead messages"))
        })
    }

    fn remove(&self, keys: Vec<u64>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("remove dead messages")?;
            if keys.is_empty() {
                return Ok(0);
            }
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            pipeline.cmd("HDEL").arg(shared.keys.dead()).arg(&keys);
            pipeline.cmd("ZREM").arg(shared.keys.dead_order()).arg(&keys).ignore();
            let answers = shared.connection.pipeline("remove dead messages", &pipeline).await?;
            let removed = answers.into_iter().next().and_then(|count| redis::from_redis_value(count).ok());
            removed.ok_or_else(|| unexpected_reply("remove dead messages"))
        })
    }

    fn count(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("count dead messages")?;
            let mut command = redis::cmd("HLEN");
            command.arg(shared.keys.dead());
            let answer = shared.connection.command("count dead messages", &command).await?;
            redis::from_redis_value(answer).map_err(|_| unexpected_reply("count dead messages"))
        })
    }
}

/// The dead letters with these numbers, as far as there are any.
async fn dead_letters(shared: &BrokerShared, keys: &[u64]) -> Result<Vec<(u64, StoredDeadLetter)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("HMGET");
    command.arg(shared.keys.dead()).arg(keys);
    let Value::Array(documents) = shared.connection.command("read dead messages", &command).await? else {
        return Err(unexpected_reply("read dead messages"));
    };
    let mut found = Vec::new();
    for (key, document) in keys.iter().zip(documents) {
        if let Value::BulkString(json) = document {
            found.push((*key, StoredDeadLetter::from_json(*key, &json)?));
        }
    }
    Ok(found)
}
