//! A slot: a fixed place in which one run after the other executes, with what is in it and what cancels that. The slot
//! writes it for each run, and nearly nobody reads it, so its lock is never contended.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_app::context::request::Request;
use apium_app::task::registered::RegisteredTask;
use apium_protocol::message::task_id::TaskId;
use jiff::Timestamp;

use crate::limits::time_limit::Limits;
use crate::runs::cancel::CancelHandle;
use crate::runs::terminate_signal::TerminateSignal;

/// A run in a slot.
#[derive(Clone)]
pub(crate) struct ActiveRun {
    pub(crate) request: Arc<Request>,
    pub(crate) task: Arc<RegisteredTask>,
    /// When it began.
    pub(crate) since: Timestamp,
    pub(crate) limits: Limits,
}

impl ActiveRun {
    /// The id of its task.
    pub(crate) fn id(&self) -> Option<&TaskId> {
        self.request.id()
    }
}

/// What is in a slot, and what was.
#[derive(Default)]
struct SlotState {
    run: Option<ActiveRun>,
    /// How many runs of each task began here, the last task first. Few tasks are enough for most slots.
    begun: Vec<(Arc<RegisteredTask>, u64)>,
}

impl SlotState {
    fn count(&mut self, task: &Arc<RegisteredTask>) {
        match self.begun.iter().position(|(counted, _)| Arc::ptr_eq(counted, task)) {
            Some(index) => {
                self.begun[index].1 += 1;
                self.begun.swap(0, index);
            }
            None => {
                self.begun.push((task.clone(), 1));
                let last = self.begun.len() - 1;
                self.begun.swap(0, last);
            }
        }
    }
}

/// A slot.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    pub(crate) cancel: CancelHandle,
    /// When the present poll of its body began, in milliseconds of the watchdog's time plus 1. 0 outside a poll.
    pub(crate) polled_since: AtomicU64,
    /// The `polled_since` of the last poll that the watchdog reported. Each poll is reported once.
    pub(crate) reported: AtomicU64,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot got a run, whose body begins.
    pub(crate) fn enter(&self, run: ActiveRun) {
        let mut state = self.lock();
        state.count(&run.task);
        state.run = Some(run);
        self.cancel.begin();
    }

    /// The run is over, with everything that the slot does for it.
    pub(crate) fn leave(&self) {
        self.cancel.end();
        // Dropped after the lock is released.
        let _run = self.lock().run.take();
    }

    /// What is in it.
    pub(crate) fn run(&self) -> Option<ActiveRun> {
        self.lock().run.clone()
    }

    /// How many runs of each task began here.
    pub(crate) fn begun(&self) -> Vec<(Arc<str>, u64)> {
        self.lock().begun.iter().map(|(task, count)| (task.name.clone(), *count)).collect()
    }

    /// Terminates the body that runs here, if it is of a run that is meant. Returns the id of the task.
    pub(crate) fn terminate(&self, is_meant: impl Fn(&ActiveRun) -> bool, signal: TerminateSignal) -> Option<TaskId> {
        // Locked until it is terminated, so that it cannot be the next run.
        let state = self.lock();
        let run = state.run.as_ref().filter(|run| is_meant(run))?;
        let id = run.id()?.clone();
        self.cancel.terminate(signal).then_some(id)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use apium_app::options::effective_options::TaskDefaults;
    use apium_app::options::task_options::TaskOptions;
    use apium_app::task::arguments::ParameterList;
    use apium_app::task::definition::{Hooks, TaskDef, TaskFn};
    use apium_app::task::registry::RegistryBuilder;
    use apium_protocol::json::text::Json;

    use super::*;

    static DEF: TaskDef = TaskDef {
        name: "t",
        aliases: &[],
        parameters: ParameterList { function: "t", named: &[], var_args: true, var_kwargs: true },
        options: || TaskOptions::NEW,
        hooks: Hooks::NONE,
        needs: &[],
        takes_ctx: true,
        run: TaskFn::Blocking(|_| Ok(Json::NULL)),
        location: "here",
    };

    impl ActiveRun {
        /// A run of the task `task` with this id.
        pub(crate) fn of_test(task: &str, id: &str) -> Self {
            let mut builder = RegistryBuilder::new();
            builder.def(&DEF);
            let registry = builder.build(&TaskDefaults::default(), |_| TaskOptions::NEW).unwrap();
            let mut request = Request::direct();
            request.headers.id = Some(id.into());
            request.headers.task = Some(task.into());
            let task = registry.get("t").unwrap().clone();
            Self { request: Arc::new(request), task, since: Timestamp::UNIX_EPOCH, limits: Limits::NONE }
        }
    }

    #[test]
    fn only_the_run_that_is_meant_is_terminated() {
        let slot = Slot::default();
        let is_meant = |id: &'static str| move |run: &ActiveRun| run.id().is_some_and(|run| run.as_str() == id);
        let terminate = |id| slot.terminate(is_meant(id), TerminateSignal::TERM);
        assert_eq!(terminate("a"), None, "nothing runs");
        slot.enter(ActiveRun::of_test("t", "a"));
        assert_eq!(terminate("b"), None);
        assert_eq!(terminate("a"), Some("a".into()));
        slot.leave();
        slot.enter(ActiveRun::of_test("t", "b"));
        assert_eq!(terminate("a"), None, "it is over");
        slot.cancel.end();
        assert_eq!(terminate("b"), None, "its body is over");
        assert_eq!(slot.begun().iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
