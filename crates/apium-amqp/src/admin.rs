//! Queue administration: what AMQP itself can do. It has no list of queues, and shows no message that it does not
//! deliver.

use apium_transport::broker::queue_admin::{ConsumerCounts, QueueAdmin, QueueCounts, QueuePeek};
use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use lapin::options::{QueueDeleteOptions, QueuePurgeOptions};

use crate::broker::AmqpBroker;
use crate::errors::is_not_found;
use crate::publish::declare::queue_counts;
use crate::publish::table::short;

impl QueueAdmin for AmqpBroker {
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let shared = self.shared();
            shared.check_open("count a queue")?;
            let mut commands = shared.commands("count a queue").await?;
            Ok(queue_counts(&mut commands, queue).await?.map_or(0, |(messages, _)| messages))
        })
    }

    fn purge<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let what = format!("purge the queue {queue:?}");
            let shared = self.shared();
            shared.check_open(&what)?;
            let mut commands = shared.commands(&what).await?;
            let channel = commands.channel(&what).await?;
            let name = short("name of a queue", queue)?;
            match channel.attempt(|channel| channel.queue_purge(name, QueuePurgeOptions::default())).await {
                Ok(count) => Ok(count.into()),
                Err(error) if is_not_found(&error) => Ok(0),
                Err(error) => Err(channel.error(&what, &error)),
            }
        })
    }

    fn purges_delayed(&self) -> bool {
        false
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let what = format!("delete the queue {queue:?}");
            let shared = self.shared();
            shared.check_open(&what)?;
            let mut commands = shared.commands(&what).await?;
            let channel = commands.channel(&what).await?;
            let name = short("name of a queue", queue)?;
            match channel.attempt(|channel| channel.queue_delete(name, QueueDeleteOptions::default())).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(channel.error(&what, &error)),
            }
            shared.declared.forget_queue(queue);
            Ok(())
        })
    }

    fn messages(&self) -> Option<&dyn QueuePeek> {
        None
    }

    fn counts(&self) -> Option<&dyn QueueCounts> {
        None
    }

    fn consumers(&self) -> Option<&dyn ConsumerCounts> {
        None
    }
}
