//! Replaying dead letters: their tasks start anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::dead_set::{DeadLetter, DeadSet};
use apium_transport::error::Result as TransportResult;

use crate::app::app::App;
use crate::error::{Error, ErrorKind, Result};

impl App {
    /// Sends the dead letters with these keys back to the queues that they came from, with a crash count of zero, and
    /// returns how many there were.
    ///
    /// Their tasks start anew: a FAILURE or REVOKED that is stored of one is forgotten, so that it is PENDING until its
    /// new run stores something. What followed its end is not undone: a part of a chord stays counted, and is not
    /// counted again.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a broker without a dead set, [`ErrorKind::Backend`] when the old results cannot be
    /// forgotten (then nothing was replayed), [`ErrorKind::Publish`] when the broker fails.
    pub async fn replay_dead(&self, keys: &[u64]) -> Result<u64> {
        let broker = self.broker();
        let dead = broker.dead().ok_or_else(|| {
            let text = format!("replay dead letters: the broker {} has no dead set", broker.address());
            Error::new(ErrorKind::Config, text)
        })?;
        let failed = |error| {
            let text = format!("replay {} dead letters of {}", keys.len(), broker.address());
            Error::new(ErrorKind::Publish, text).with_source(error)
        };
        let found = self.dead_letters(dead, keys).await.map_err(failed)?;
        for (backend, ids) in self.tasks_of(&found) {
            self.forget_ends(&backend, ids).await?;
        }
        self.ask(broker.address(), || dead.replay(keys.to_vec())).await.map_err(failed)
    }

    /// The tasks of dead letters, by their result backend.
    fn tasks_of(&self, found: &[DeadLetter]) -> Vec<(SharedBackend, Vec<TaskId>)> {
        let mut tasks: Vec<(SharedBackend, Vec<TaskId>)> = Vec::new();
        for dead_letter in found {
            let Some(id) = dead_letter.task_id.as_deref().map(TaskId::from) else { continue };
            let backend = dead_letter.task.as_deref().map_or_else(|| self.backend(), |task| self.backend_of(task));
            let Some(backend) = backend else { continue };
            match tasks.iter_mut().find(|(other, _)| Arc::ptr_eq(other, backend)) {
                Some((_, ids)) => ids.push(id),
                None => tasks.push((backend.clone(), vec![id])),
            }
        }
        tasks
    }

    /// The dead letters with these keys, as far as there are any. Neighbours are read at once.
    async fn dead_letters(&self, dead: &dyn DeadSet, keys: &[u64]) -> TransportResult<Vec<DeadLetter>> {
        let at = self.broker().address();
        let mut missing: BTreeSet<u64> = keys.iter().copied().collect();
        let mut found = Vec::with_capacity(missing.len());
        while let Some(first) = missing.first().copied() {
            let batch = self.ask(at, || dead.list(first.saturating_sub(1), missing.len())).await?;
            let Some(last) = batch.last().map(|dead_letter| dead_letter.key) else { break };
            found.extend(batch.into_iter().filter(|dead_letter| missing.contains(&dead_letter.key)));
            missing = missing.split_off(&last.saturating_add(1));
        }
        Ok(found)
    }

    /// Forgets those of the results that are the end of a task which did not succeed.
    async fn forget_ends(&self, backend: &SharedBackend, ids: Vec<TaskId>) -> Result<()> {
        let Some(stored) = backend.stored() else { return Ok(()) };
        let failed = |error| {
            let text = format!("forget the results of {} dead tasks at {}", ids.len(), backend.address());
            Error::new(ErrorKind::Backend, text).with_source(error)
        };
        let documents = self.ask(backend.address(), || stored.fetch(&ids)).await.map_err(failed)?;
        let ended = documents.into_iter().flatten().filter(|document| document.state.propagates());
        let ended: Vec<TaskId> = ended.map(|document| document.task_id).collect();
        match ended.is_empty() {
            true => Ok(()),
            false => self.ask(backend.address(), || stored.forget(ended.clone())).await.map_err(failed),
        }
    }
}
