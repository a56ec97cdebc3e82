//! What a command leaves for workers that start later, beside what it tells those that run: revokes and paused queues.
//! Celery keeps such things in the memory of its workers alone.

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetTopic};

use crate::app::app::App;
use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};

/// How many records are written at once.
const BATCH: usize = 1_000;

/// How many queues may be paused at once.
const MOST_PAUSED: usize = 10_000;

/// A change of what all workers share.
#[derive(Debug)]
pub(crate) enum FleetChange {
    /// Writes records with these keys and values.
    Put(FleetTopic, Vec<(String, Json)>),
    /// Removes the records of these keys.
    Remove(FleetTopic, Vec<String>),
}

impl FleetChange {
    /// Writes it, where the broker keeps such records; says whether it does.
    pub(crate) async fn write(self, app: &App) -> Result<bool> {
        let Some(fleet) = app.broker().fleet() else { return Ok(false) };
        let at = app.broker().address();
        let failed = |topic: FleetTopic, error| {
            let text = format!("write to {at} what all workers share (`{}`)", topic.name());
            Error::new(ErrorKind::Publish, text).with_source(error)
        };
        match self {
            Self::Put(topic, records) => {
                let (now, limits) = (app.clock().now(), fleet_limits(app.config(), topic));
                let mut dropped = 0;
                for batch in records.chunks(BATCH) {
                    let record = |(key, value): &(String, Json)| FleetRecord::new(key.clone(), value.clone(), now);
                    let put = || fleet.put(topic, batch.iter().map(record).collect(), limits);
                    dropped += app.ask(at, put).await.map_err(|error| failed(topic, error))?;
                }
                if dropped > 0 {
                    let (topic, most) = (topic.name(), limits.most);
                    tracing::warn!(dropped, topic, most, "the oldest were dropped, since there are too many");
                }
            }
            Self::Remove(topic, keys) => {
                for batch in keys.chunks(BATCH) {
                    app.ask(at, || fleet.remove(topic, batch)).await.map_err(|error| failed(topic, error))?;
                }
            }
        }
        Ok(true)
    }
}

/// How much of a topic is kept: revokes by the settings, paused queues until they are resumed.
pub fn fleet_limits(config: &Config, topic: FleetTopic) -> FleetLimits {
    match topic {
        FleetTopic::PausedQueues => FleetLimits::new(MOST_PAUSED, None),
        _ => FleetLimits::new(config.worker_revokes_max, Some(config.worker_revoke_expires)),
    }
}
