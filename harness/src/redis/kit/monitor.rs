//! A monitor that counts the events of tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::namespace::Database;
use apium_protocol::message::envelope::Envelope;
use futures_util::StreamExt as _;
use redis::Msg;
use tokio::task::JoinSet;

/// How often whoever waits for a monitor looks at its count.
const LOOK: Duration = Duration::from_millis(20);

/// What each event of a task has once.
const OF_A_TASK: &str = r#""type": "task-"#;

/// The monitor. It stops when it is dropped.
#[derive(Debug)]
pub struct Monitor {
    heard: Arc<AtomicU64>,
    listening: JoinSet<Result<(), BoxError>>,
}

impl Monitor {
    /// Listens to all events of a database. When this returns, it does.
    pub async fn start(database: &Database) -> Result<Self, BoxError> {
        let mut channel = redis::Client::open(&*database.url)?.get_async_pubsub().await?;
        channel.psubscribe(format!("/{}.celeryev/*", database.number)).await?;
        let heard = Arc::new(AtomicU64::new(0));
        let (counted, mut listening) = (heard.clone(), JoinSet::new());
        listening.spawn(async move {
            let mut messages = channel.into_on_message();
            while let Some(message) = messages.next().await {
                counted.fetch_add(count(&message)?, Ordering::AcqRel);
            }
            Err("listen to events: the server ended the subscription".into())
        });
        Ok(Self { heard, listening })
    }

    /// Waits for so many events, and for `patience` at most after the last one; how many it heard.
    pub async fn wait(mut self, wanted: u64, patience: Duration) -> Result<u64, BoxError> {
        let (mut heard, mut idle) = (self.heard.load(Ordering::Acquire), Duration::ZERO);
        while heard < wanted && idle < patience {
            tokio::select! {
                Some(ended) = self.listening.join_next() => ended??,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = self.heard.load(Ordering::Acquire);
            idle = if now == heard { idle + LOOK } else { Duration::ZERO };
            heard = now;
        }
        Ok(heard)
    }
}

/// How many events of tasks are in a message.
fn count(message: &Msg) -> Result<u64, BoxError> {
    let body = Envelope::decode(&message.get_payload::<Vec<u8>>()?.into())?.message.body;
    Ok(std::str::from_utf8(&body)?.matches(OF_A_TASK).count() as u64)
}
