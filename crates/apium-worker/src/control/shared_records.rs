//! What this worker shares with all others by the broker's records: which tasks are revoked, and which queues are
//! paused. It reads them when it starts and after it may have missed a command, and writes the revokes that it hears.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_app::config::table::Config;
use apium_app::context::result_document::{ResultPolicy, ResultUpdate, other_task_document};
use apium_app::control::fleet_change::fleet_limits;
use apium_app::control::pause::PauseRecord;
use apium_app::failure::Failure;
use apium_protocol::error::with_causes;
use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_protocol::value::value::Value;
use apium_transport::backend::backend::ResultRecord;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::fleet::{FleetLimits, FleetRecord, FleetRecords, FleetTopic, stamp_key};
use apium_transport::clock::Clock;
use apium_transport::error::Result;
use tokio::sync::Notify;

use crate::backends::Backends;
use crate::control::consumed_queues::ConsumedQueues;
use crate::pipeline::complete::outage::Outage;
use crate::runs::registry::Runs;
use crate::runs::revoked::RevokedTasks;
use crate::service::Stopping;

/// How many records are written at once, and of how many tasks the state is read at once.
const BATCH: usize = 1_000;
/// How long a worker that stops tries to write what it has not.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The shared records, as a worker uses them.
pub(crate) struct SharedRecords {
    pub(crate) broker: SharedBroker,
    pub(crate) clock: Clock,
    pub(crate) revoked: Arc<RevokedTasks>,
    pub(crate) queues: Arc<ConsumedQueues>,
    pub(crate) config: Arc<Config>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) policy: ResultPolicy,
    pub(crate) runs: Arc<Runs>,
    pub(crate) journal: Journal,
}

/// What is still to be done in the stores.
#[derive(Default)]
pub(crate) struct Journal {
    pending: Mutex<Pending>,
    wake: Notify,
    /// Whether the last ids pushed older ones out of the store.
    ids_are_full: AtomicBool,
    /// The same for stamps.
    stamps_are_full: AtomicBool,
}

impl Journal {
    fn is_full(&self, topic: FleetTopic) -> &AtomicBool {
        if topic == FleetTopic::RevokedTasks { &self.ids_are_full } else { &self.stamps_are_full }
    }
}

#[derive(Default)]
struct Pending {
    ids: Vec<FleetRecord>,
    stamps: Vec<FleetRecord>,
    /// What is revoked no more, and may be written.
    to_remove: Vec<(FleetTopic, String)>,
    /// Tasks whose state becomes REVOKED unless somebody has them.
    to_mark: Vec<TaskId>,
}

impl SharedRecords {
    pub(crate) fn broker(&self) -> &SharedBroker {
        &self.broker
    }

    /// How much of a topic is kept.
    fn limits(&self, topic: FleetTopic) -> FleetLimits {
        fleet_limits(&self.config, topic)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.journal.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of revoked tasks, the oldest first.
    pub(crate) fn revoked_ids(&self) -> Vec<Arc<str>> {
        self.revoked.ids(self.clock.now())
    }

    /// The revoked stamps by their headers, the oldest first.
    pub(crate) fn revoked_stamps(&self) -> BTreeMap<String, Vec<Json>> {
        let mut stamps: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for key in self.revoked.stamps(self.clock.now()) {
            if let Some((header, value)) = read_stamp_key(&key) {
                stamps.entry(header.to_owned()).or_default().push(value);
            }
        }
        stamps
    }

    /// Revokes tasks here, and has the stores told: their state becomes REVOKED, and if `is_to_write` is set they are
    /// written for workers that start later.
    pub(crate) fn revoke(&self, ids: &[TaskId], is_to_write: bool) {
        let now = self.clock.now();
        self.revoked.add_ids(ids.iter().map(|id| (id.as_str(), now)), now);
        let active = self.runs.active();
        let runs = |id: &TaskId| active.iter().any(|run| run.id() == Some(id));
        let mut pending = self.pending();
        pending.keep(FleetTopic::RevokedTasks, &ids.iter().map(TaskId::as_str).collect());
        if is_to_write {
            pending.ids.extend(ids.iter().map(|id| FleetRecord::new(id.as_str(), Json::NULL, now)));
            keep_last(&mut pending.ids, self.config.worker_revokes_max);
        }
        // What runs now is not marked, whether it ends before that or not: its own end says what became of it.
        pending.to_mark.extend(ids.iter().filter(|id| !runs(id)).cloned());
        keep_last(&mut pending.to_mark, self.config.worker_revokes_max);
        drop(pending);
        self.journal.wake.notify_one();
    }

    /// Revokes what has one of these stamps, as [`revoke`](Self::revoke).
    pub(crate) fn revoke_stamps(&self, keys: Vec<String>, is_to_write: bool) {
        let now = self.clock.now();
        self.revoked.add_stamps(keys.iter().map(|key| (key, now)), now);
        let mut pending = self.pending();
        pending.keep(FleetTopic::RevokedStamps, &keys.iter().map(String::as_str).collect());
        if is_to_write {
            pending.stamps.extend(keys.into_iter().map(|key| FleetRecord::new(key, Json::NULL, now)));
            keep_last(&mut pending.stamps, self.config.worker_revokes_max);
            drop(pending);
            self.journal.wake.notify_one();
        }
    }

    /// Takes revokes back here: of ids, or of the keys of stamps. If `is_to_write` is set, workers that start later do
    /// not hear of them either.
    pub(crate) fn unrevoke(&self, topic: FleetTopic, keys: &[String], is_to_write: bool) {
        let now = self.clock.now();
        match topic {
            FleetTopic::RevokedTasks => self.revoked.remove_ids(keys, now),
            _ => self.revoked.remove_stamps(keys, now),
        }
        let gone: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let mut pending = self.pending();
        // What is not written yet is not written at all.
        records_of(&mut pending, topic).retain(|record| !gone.contains(record.key.as_str()));
        if topic == FleetTopic::RevokedTasks {
            pending.to_mark.retain(|id| !gone.contains(id.as_str()));
        }
        if is_to_write {
            pending.to_remove.extend(keys.iter().map(|key| (topic, key.clone())));
            keep_last(&mut pending.to_remove, self.config.worker_revokes_max);
            drop(pending);
            self.journal.wake.notify_one();
        }
    }

    /// Takes over ids that another worker knows to be revoked. They are not written: whoever heard the revoke did that.
    /// Returns how many are new.
    pub(crate) fn merge_revoked(&self, ids: Vec<String>) -> usize {
        let now = self.clock.now();
        self.revoked.add_ids(ids.iter().map(|id| (id, now)), now)
    }

    /// Reads what all workers share.
    pub(crate) async fn load(&self) -> Result<()> {
        let Some(fleet) = self.broker.fleet() else { return Ok(()) };
        let list = |topic| fleet.list(topic, None, self.limits(topic));
        let ids = list(FleetTopic::RevokedTasks).await?;
        let stamps = list(FleetTopic::RevokedStamps).await?;
        let paused = list(FleetTopic::PausedQueues).await?;
        let now = self.clock.now();
        self.revoked.add_ids(ids.iter().map(|record| (&record.key, record.at)), now);
        self.revoked.add_stamps(stamps.iter().map(|record| (read_stamp(&record.key), record.at)), now);
        let pause = |record: FleetRecord| {
            let value: PauseRecord = record.value.decode().unwrap_or_default();
            (record.key, (value, record.at))
        };
        self.queues.set_paused(paused.into_iter().map(pause).collect::<BTreeMap<_, _>>());
        Ok(())
    }

    /// As [`load`](Self::load). While the broker cannot be reached, it tries again. What cannot be read at all is
    /// logged, and the worker goes on without it.
    pub(crate) async fn load_until_read(&self) {
        let mut outage = Outage::default();
        loop {
            let began = tokio::time::Instant::now();
            match self.load().await {
                Ok(()) => return,
                Err(error) if error.is_retryable() => {
                    let pause = outage.pause(&error, began);
                    if outage.warns() {
                        tracing::warn!(error = %with_causes(&error), "could not read which tasks are revoked; trying again until it works");
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "could not read which tasks are revoked and which queues are paused; the worker goes on without");
                    return;
                }
            }
        }
    }

    /// Pauses a queue here. With `is_to_write` the future writes it for workers that start later, and says whether the
    /// broker keeps it.
    pub(crate) fn pause(
        self: &Arc<Self>,
        queue: &str,
        record: PauseRecord,
        is_to_write: bool,
    ) -> Option<impl Future<Output = Result<bool>> + Send + 'static> {
        let now = self.clock.now();
        self.queues.pause(queue.to_owned(), record.clone(), now);
        let (records, queue) = (self.clone(), queue.to_owned());
        is_to_write.then_some(async move {
            let Some(fleet) = records.broker.fleet() else { return Ok(false) };
            let value = Json::from_serialize(&record).unwrap_or(Json::NULL);
            let topic = FleetTopic::PausedQueues;
            fleet.put(topic, vec![FleetRecord::new(queue, value, now)], records.limits(topic)).await?;
            Ok(true)
        })
    }

    /// Resumes a queue here. With `is_to_write` the future writes it for workers that start later.
    pub(crate) fn resume(
        self: &Arc<Self>,
        queue: &str,
        is_to_write: bool,
    ) -> Option<impl Future<Output = Result<()>> + Send + 'static> {
        self.queues.resume(queue);
        let (records, queue) = (self.clone(), queue.to_owned());
        is_to_write.then_some(async move {
            if let Some(fleet) = records.broker.fleet() {
                fleet.remove(FleetTopic::PausedQueues, &[queue]).await?;
            }
            Ok(())
        })
    }

    /// Does in the stores what is to be done, until it is asked to stop; then what is left, if the stores answer.
    pub(crate) async fn serve(self: Arc<Self>, mut stopping: Stopping) {
        let mut outage = Outage::default();
        loop {
            let began = tokio::time::Instant::now();
            let written = self.write().await;
            tokio::select! {
                biased;
                () = stopping.wait() => break,
                () = async {
                    match written {
                        Ok(()) => {
                            outage = Outage::default();
                            self.mark().await;
                            self.journal.wake.notified().await;
                        }
                        Err(error) => {
                            let pause = outage.pause(&error, began);
                            if outage.warns() {
                                tracing::warn!(error = %with_causes(&error), "could not write which tasks are revoked; trying again until it works");
                            }
                            tokio::time::sleep(pause).await;
                        }
                    }
                } => {}
            }
        }
        let flushed = async {
            if self.write().await.is_ok() {
                self.mark().await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("the last revokes were not written before the worker stopped");
        }
    }

    /// Writes revokes, and removes those that are taken back, for workers that start later. What fails is tried again
    /// by the next call, if that may help.
    async fn write(&self) -> Result<()> {
        let Some(fleet) = self.broker.fleet() else {
            let mut pending = self.pending();
            (pending.ids, pending.stamps, pending.to_remove) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(());
        };
        self.remove(fleet).await?;
        for topic in [FleetTopic::RevokedTasks, FleetTopic::RevokedStamps] {
            loop {
                let batch = {
                    let mut pending = self.pending();
                    let records = records_of(&mut pending, topic);
                    let count = records.len().min(BATCH);
                    records.drain(..count).collect::<Vec<_>>()
                };
                if batch.is_empty() {
                    break;
                }
                match fleet.put(topic, batch.clone(), self.limits(topic)).await {
                    Ok(0) => self.journal.is_full(topic).store(false, Ordering::Relaxed),
                    // It is said once, until there is room again.
                    Ok(_) if self.journal.is_full(topic).swap(true, Ordering::Relaxed) => {}
                    Ok(dropped) => {
                        let topic = topic.name();
                        tracing::warn!(
                            dropped,
                            topic,
                            most = self.config.worker_revokes_max,
                            "the oldest records were dropped, since there are too many (worker_revokes_max)"
                        );
                    }
                    Err(error) if error.is_retryable() => {
                        let mut pending = self.pending();
                        let records = records_of(&mut pending, topic);
                        records.splice(..0, batch);
                        keep_last(records, self.config.worker_revokes_max);
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::error!(error = %with_causes(&error), revokes = batch.len(), "could not write which tasks are revoked; workers that start later run them");
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the records of revokes that are taken back.
    async fn remove(&self, fleet: &dyn FleetRecords) -> Result<()> {
        loop {
            let batch = {
                let mut pending = self.pending();
                let count = pending.to_remove.len().min(BATCH);
                pending.to_remove.drain(..count).collect::<Vec<_>>()
            };
            if batch.is_empty() {
                return Ok(());
            }
            for topic in [FleetTopic::RevokedTasks, FleetTopic::RevokedStamps] {
                let keys = batch.iter().filter(|(of, _)| *of == topic).map(|(_, key)| key.clone());
                match fleet.remove(topic, &keys.collect::<Vec<_>>()).await {
                    Ok(_) => {}
                    Err(error) if error.is_retryable() => {
                        self.pending().to_remove.splice(..0, batch);
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::error!(error = %with_causes(&error), "could not write which tasks are revoked no more; workers that start later do not run them");
                    }
                }
            }
        }
    }

    /// Stores REVOKED for revoked tasks that nobody has, as Celery does: those of which nothing is stored, or that they
    /// wait. A result that comes all the same replaces it.
    async fn mark(&self) {
        loop {
            let ids: Vec<TaskId> = {
                let mut pending = self.pending();
                let count = pending.to_mark.len().min(BATCH);
                pending.to_mark.drain(..count).collect()
            };
            if ids.is_empty() {
                return;
            }
            let Some(backend) = self.backends.app() else { continue };
            let Some(stored) = backend.stored() else { continue };
            let marked = async {
                let documents = stored.fetch(&ids).await?;
                let active = self.runs.active();
                let runs = |id: &TaskId| active.iter().any(|run| run.id() == Some(id));
                let waits = |state: &State| matches!(state.as_str(), "PENDING" | "RECEIVED" | "RETRY" | "REJECTED");
                let now = self.clock.now();
                let records = ids.iter().zip(documents).filter(|(id, document)| {
                    document.as_ref().is_none_or(|document| waits(&document.state)) && !runs(id)
                });
                let records = records.map(|(id, _)| {
                    let failure = Failure::from_exception(ExceptionInfo::task_revoked("revoked"));
                    let update = ResultUpdate::of_failure(State::Revoked, &failure);
                    let document = other_task_document(id.clone(), update, &self.policy, now);
                    ResultRecord::new(document).kept_for(self.policy.ttl)
                });
                let records: Vec<_> = records.collect();
                if !records.is_empty() {
                    backend.store(records).await?;
                }
                Ok::<_, apium_transport::error::Error>(())
            };
            if let Err(error) = marked.await {
                tracing::warn!(error = %with_causes(&error), tasks = ids.len(), "could not store REVOKED for revoked tasks; it is stored when their messages come");
            }
        }
    }
}

impl Pending {
    /// Does not remove the records of what is revoked again.
    fn keep(&mut self, topic: FleetTopic, keys: &HashSet<&str>) {
        self.to_remove.retain(|(of, key)| *of != topic || !keys.contains(key.as_str()));
    }
}

fn records_of(pending: &mut Pending, topic: FleetTopic) -> &mut Vec<FleetRecord> {
    if topic == FleetTopic::RevokedTasks { &mut pending.ids } else { &mut pending.stamps }
}

/// The key of a stamp as this worker writes it: two spellings of a value are one.
fn read_stamp(key: &str) -> String {
    read_stamp_key(key).map_or_else(|| key.to_owned(), |(header, value)| stamp_key(header, &value))
}

/// The header and the value of a stamp's key.
fn read_stamp_key(key: &str) -> Option<(&str, Json)> {
    let (header, value) = key.split_once('=')?;
    Some((header, Json::from_text(value).ok()?))
}

/// The ids of a greeting: a list, or as older workers of Celery write it a map of id to time.
pub(crate) fn greeted_ids(revoked: &Json) -> Vec<String> {
    match revoked.to_value() {
        Ok(Value::List(ids)) => ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
        Ok(Value::Map(entries)) => entries.iter().map(|(id, _)| id.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Drops the first of too many.
fn keep_last<T>(items: &mut Vec<T>, most: usize) {
    if items.len() > most {
        items.drain(..items.len() - most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_greeting_are_a_list_or_a_map() {
        for (text, ids) in
            [(r#"["a", "b", 7]"#, &["a", "b"][..]), (r#"{"a": 1.5, "b": [2]}"#, &["a", "b"]), ("null", &[]), ("7", &[])]
        {
            assert_eq!(greeted_ids(&Json::from_text(text).unwrap()), ids, "{text}");
        }
    }

    #[test]
    fn two_spellings_of_a_stamp_are_one() {
        assert_eq!(read_stamp("batch={\"x\":  1}"), read_stamp("batch={\"x\": 1}"));
        assert_eq!(read_stamp("no JSON=x"), "no JSON=x");
    }
}
