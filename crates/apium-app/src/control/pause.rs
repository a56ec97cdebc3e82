//! Pausing a queue for all workers, and letting them take messages from it again. Celery has no such thing.

use apium_protocol::json::text::Json;
use apium_transport::broker::fleet::{FleetRecord, FleetTopic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::addressing::Addressing;
use crate::control::command::{CommandArguments, RemoteCommand};
use crate::control::control::Control;
use crate::control::fleet_change::{FleetChange, fleet_limits};
use crate::control::replies::confirmation;
use crate::error::{Error, ErrorKind, Result};

/// A queue that is paused: no worker takes messages from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PausedQueue {
    /// Its name.
    pub queue: String,
    /// Who paused it, such as `gen4711@host`.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is stored of a paused queue: the value of its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseRecord {
    /// Who paused it, such as `gen4711@host`.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

impl Control {
    /// Pauses a queue: workers take no more messages from it, also workers that start later, until it is
    /// [resumed](Self::resume_queue). What was claimed runs on. `reason` is shown to whoever asks why.
    ///
    /// It holds for all workers of Apium: a destination and a pattern are not looked at. On a broker that keeps no
    /// records for workers, those that start later do not know of it. Celery has no such command: its workers answer
    /// with an error.
    pub fn pause_queue(&self, queue: &str, reason: &str) -> RemoteCommand<String> {
        self.change_pause(queue, || {
            let by = self.app.publisher().origin().to_string();
            let arguments = CommandArguments::new().with("queue", queue)?.with("reason", reason)?.with("by", &by)?;
            let value = Json::from_serialize(&PauseRecord { by, reason: reason.to_owned() })?;
            let change = FleetChange::Put(FleetTopic::PausedQueues, vec![(queue.to_owned(), value)]);
            Ok(("pause_queue", arguments, change))
        })
    }

    /// Lets all workers take messages from a queue again.
    pub fn resume_queue(&self, queue: &str) -> RemoteCommand<String> {
        self.change_pause(queue, || {
            let arguments = CommandArguments::new().with("queue", queue)?;
            Ok(("resume_queue", arguments, FleetChange::Remove(FleetTopic::PausedQueues, vec![queue.to_owned()])))
        })
    }

    fn change_pause(
        &self,
        queue: &str,
        parts: impl FnOnce() -> Result<(&'static str, CommandArguments, FleetChange)>,
    ) -> RemoteCommand<String> {
        let checked = match queue.trim().is_empty() {
            true => Err(Error::new(ErrorKind::Call, "pause or resume a queue: its name is empty")),
            false => parts(),
        };
        let (method, arguments, change) = match checked {
            Ok((method, arguments, change)) => (method, Ok(arguments), Some(change)),
            Err(error) => ("pause_queue", Err(error), None),
        };
        let everybody = Addressing { destination: Vec::new(), pattern: None, ..self.to.clone() };
        RemoteCommand::new(&self.app, &everybody, method, arguments, confirmation).after_change(change)
    }

    /// The queues that are paused, the oldest first. It asks the broker, not the workers; a broker that keeps no
    /// records for workers has none.
    ///
    /// # Errors
    /// [`ErrorKind::Publish`] when the broker cannot be reached.
    pub async fn paused_queues(&self) -> Result<Vec<PausedQueue>> {
        let app = &self.app;
        let Some(fleet) = app.broker().fleet() else { return Ok(Vec::new()) };
        let (at, topic) = (app.broker().address(), FleetTopic::PausedQueues);
        let records = app.ask(at, || fleet.list(topic, None, fleet_limits(app.config(), topic))).await;
        let records = records.map_err(|error| {
            Error::new(ErrorKind::Publish, format!("list paused queues of {at}")).with_source(error)
        })?;
        let paused = |record: FleetRecord| {
            let PauseRecord { by, reason } = record.value.decode().unwrap_or_default();
            PausedQueue { queue: record.key, by, reason, since: record.at }
        };
        Ok(records.into_iter().map(paused).collect())
    }
}
