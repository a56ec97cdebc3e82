//! Completions that a store refuses. The delivery of such a one goes to the dead set. Where that is refused too, the
//! completion is kept and tried again, and the worker says that it is unhealthy until it is done.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::result::state::State;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::dead_set::DeadReason;
use apium_transport::broker::settlement::{Acknowledgement, Disposition, Settlement};
use apium_transport::error::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pipeline::complete::attempt::Stores;
use crate::pipeline::completion::{BatchProgress, Completion, Stage};
use crate::pipeline::log;
use crate::shutdown::faults::Faults;

/// How many completions without a delivery are kept. Nothing else limits these.
const MAX_WITHOUT_DELIVERY: usize = 4096;
/// How long a completion without a delivery is tried. A result that its store never takes does not keep the worker
/// unhealthy for ever.
const KEEP_WITHOUT_DELIVERY: Duration = Duration::from_secs(300);
/// The name of the fault that keeps the worker unhealthy.
const FAULT: &str = "settlements";

/// A completion that a store refused, and how far it has come.
pub(crate) struct Refused {
    pub(crate) completion: Completion,
    pub(crate) progress: BatchProgress,
    /// The result backend of the task's own.
    pub(crate) own_backend: Option<SharedBackend>,
    since: Instant,
}

impl Refused {
    pub(crate) fn new(completion: Completion, progress: BatchProgress, own_backend: Option<SharedBackend>) -> Self {
        let mut refused = Self { completion, progress, own_backend, since: Instant::now() };
        if refused.completion.begins {
            // The run does not begin here. What is left to do is to give its message back.
            let delivery = refused.completion.settlement.delivery.take();
            let requeue = delivery.map(|(receipt, _)| (receipt, Acknowledgement::Reject(Disposition::Requeue)));
            refused.completion.settlement = Settlement::default().ending(requeue);
            refused.progress = BatchProgress::default();
        }
        refused
    }

    /// Puts the delivery into the dead set, so that the task is not run again and again; whether it lies there now. Ok
    /// too where there is no delivery to care for any more: another worker has it, or it went back when its consumer
    /// closed.
    async fn dead_letter(&self, error: &Error) -> Result<bool> {
        let Some((receipt, _)) = self.completion.settlement.delivery.clone() else {
            return Err(Error::new(error.kind(), format!("{error:#}")));
        };
        if error.kind() == ErrorKind::Closed {
            return Ok(false);
        }
        let dead = match error.is_final() {
            // Nothing is wrong with the message, and this worker stops.
            true => Disposition::Requeue,
            false => Disposition::Dead(DeadReason::new("rejected", why(error))),
        };
        match self.completion.source.acker.reject(vec![(receipt, dead)]).await {
            Err(error) if matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::Closed) => Ok(false),
            rejected => rejected.map(|()| !error.is_final()),
        }
    }

    /// Stores that the task has failed, since nothing else ends its state any more. The store may refuse that too, and
    /// then there is only the dead letter.
    async fn store_failure(&self, stores: &Stores, error: &Error) {
        let Some(mut record) = self.completion.settlement.record.clone() else { return };
        let Some(backend) = self.own_backend.as_ref().or(stores.backends.app()) else { return };
        if self.progress.stage >= Stage::Stored {
            return;
        }
        record.document.state = State::Failure;
        record.document.result = ExceptionInfo::new("apium", "NotSettled", why(error).as_str()).to_json();
        if let Err(error) = backend.store(vec![*record]).await {
            log::failure_not_stored(&self.completion.label, &error);
        }
    }

    /// Whether it is given up now: it has no delivery that must go somewhere, and its store will not take it.
    fn is_given_up(&self, error: &Error) -> bool {
        let may_pass = error.is_retryable() || error.kind() == ErrorKind::Refused;
        let keeps = may_pass && !self.completion.begins;
        self.completion.settlement.delivery.is_none() && (!keeps || self.since.elapsed() >= KEEP_WITHOUT_DELIVERY)
    }
}

/// Why a message that was run lies in the dead set.
fn why(error: &Error) -> String {
    format!("its end could not be stored, published or settled: {error:#}")
}

/// The completions that are kept and tried again.
pub(crate) struct RefusedCompletions {
    kept: Mutex<Vec<Refused>>,
    /// Wakes the loop that tries them.
    pub(crate) wake: Notify,
    faults: Faults,
}

/// Puts back what is left when an attempt is dropped.
struct PutBack<'a> {
    list: &'a RefusedCompletions,
    left: Vec<Refused>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        self.list.lock().append(&mut self.left);
    }
}

impl RefusedCompletions {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { kept: Mutex::default(), wake: Notify::new(), faults }
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes all that are kept.
    pub(crate) fn drain(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.lock()).into_iter().map(|refused| refused.completion).collect()
    }

    /// A store refused this one with `error`: its delivery goes to the dead set, or it is kept.
    pub(crate) async fn add(&self, refused: Refused, error: &Error, stores: &Stores) {
        log::not_completed(&refused.completion.label, error);
        let error = match refused.dead_letter(error).await {
            Ok(true) => return refused.store_failure(stores, error).await,
            Ok(false) => return,
            Err(error) => error,
        };
        let without_delivery = |refused: &&Refused| refused.completion.settlement.delivery.is_none();
        let is_full = self.lock().iter().filter(without_delivery).count() >= MAX_WITHOUT_DELIVERY;
        if refused.is_given_up(&error) || (is_full && without_delivery(&&refused)) {
            return;
        }
        log::not_dead_lettered(&refused.completion.label, &error);
        self.lock().push(refused);
        self.show(Some(&error));
        self.wake.notify_one();
    }

    /// Tries each once more: to do what was meant, else to put its delivery into the dead set. Returns those that were
    /// done as they were meant.
    pub(crate) async fn try_again(&self, stores: &Stores) -> Vec<Completion> {
        let mut trying = PutBack { list: self, left: std::mem::take(&mut *self.lock()) };
        let (mut done, mut last_error) = (Vec::new(), None);
        let mut index = 0;
        while let Some(refused) = trying.left.get_mut(index) {
            let Refused { completion, progress, own_backend, .. } = refused;
            let outcome = match stores.attempt(own_backend.as_ref(), std::slice::from_ref(completion), progress).await {
                Ok(()) => Ok(true),
                Err(error) if error.is_retryable() => Err(error),
                Err(error) => {
                    let settled = refused.dead_letter(&error).await;
                    if matches!(settled, Ok(true)) {
                        refused.store_failure(stores, &error).await;
                    }
                    settled.map(|_| false)
                }
            };
            match outcome {
                Ok(true) => done.push(trying.left.remove(index).completion),
                Ok(false) => drop(trying.left.remove(index)),
                Err(error) if refused.is_given_up(&error) => drop(trying.left.remove(index)),
                Err(error) => {
                    last_error = Some(error);
                    index += 1;
                }
            }
        }
        drop(trying);
        self.show(last_error.as_ref());
        done
    }

    /// Says what keeps the worker from settling, or that nothing does.
    fn show(&self, error: Option<&Error>) {
        match (self.len(), error) {
            (0, _) => self.faults.clear(FAULT),
            (count, Some(error)) => {
                self.faults.set(FAULT, format!("{count} tasks that ended cannot be settled: could not {error:#}"));
            }
            (_, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Refused>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
