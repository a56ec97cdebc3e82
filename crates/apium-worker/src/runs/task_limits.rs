//! Limits that were set while the worker runs (Celery: the commands `time_limit` and `rate_limit`). They replace those
//! of the task until the worker ends. A limit that a call brings still wins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::headers::TimeLimit;

use crate::limits::time_limit::Limits;

/// The limits that were set, by the name of the task.
#[derive(Debug, Default)]
pub(crate) struct TaskLimits {
    /// Whether any was set: if not, a run looks nowhere.
    any: AtomicBool,
    set: Mutex<HashMap<Arc<str>, SetLimits>>,
    /// `task_soft_time_limit` and `task_time_limit`, for what is left out.
    defaults: Limits,
}

#[derive(Debug, Default)]
struct SetLimits {
    time: Option<Limits>,
    /// The rate limit as it was written; `Some(None)` is none.
    rate: Option<Option<String>>,
}

impl TaskLimits {
    /// Limits of a worker whose settings have these.
    pub(crate) fn new(soft: Option<Duration>, hard: Option<Duration>) -> Self {
        Self { defaults: Limits { soft, hard }, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, SetLimits>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time limits of a run that begins now: those of the call, else those that were set, else those of the task.
    pub(crate) fn of(&self, call: TimeLimit, task: &RegisteredTask) -> Limits {
        if !self.any.load(Ordering::Relaxed) {
            return Limits::of(call, &task.effective);
        }
        match self.lock().get(&task.name).and_then(|set| set.time) {
            Some(time) => Limits::of_call(call, time),
            None => Limits::of(call, &task.effective),
        }
    }

    /// Sets the time limits of a task. As in Celery one that is left out is that of the settings.
    pub(crate) fn set_time(&self, task: &Arc<str>, limits: Limits) {
        let time = Limits { soft: limits.soft.or(self.defaults.soft), hard: limits.hard.or(self.defaults.hard) };
        self.lock().entry(task.clone()).or_default().time = Some(time);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Notes the rate limit of a task as it was written, for listings.
    pub(crate) fn note_rate(&self, task: &Arc<str>, text: Option<String>) {
        self.lock().entry(task.clone()).or_default().rate = Some(text);
    }

    /// The rate limit that was set, as it was written; `None` where none was.
    pub(crate) fn rate(&self, task: &str) -> Option<Option<String>> {
        self.lock().get(task).and_then(|set| set.rate.clone())
    }

    /// The time limits that were set; `None` where none were.
    pub(crate) fn time(&self, task: &str) -> Option<Limits> {
        self.lock().get(task).and_then(|set| set.time)
    }
}
