//! Switches events of tasks on and off while the worker runs, and asks for a heartbeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The switch. Cheap to clone; all clones are the same switch.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventsSwitch(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    is_on: AtomicBool,
    heartbeats: AtomicU64,
    asked: Notify,
}

impl EventsSwitch {
    /// Sends events of tasks from now on (Celery: `enable_events`). Returns whether they were off.
    pub(crate) fn enable(&self) -> bool {
        !self.0.is_on.swap(true, Ordering::Relaxed)
    }

    /// Sends no more events of tasks (Celery: `disable_events`). Returns whether they were on.
    pub(crate) fn disable(&self) -> bool {
        self.0.is_on.swap(false, Ordering::Relaxed)
    }

    /// Asks for a heartbeat at once.
    pub(crate) fn heartbeat(&self) {
        self.0.heartbeats.fetch_add(1, Ordering::Relaxed);
        self.0.asked.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::EventsSwitch;

    #[test]
    fn it_says_whether_it_changed_something() {
        let switch = EventsSwitch::default();
        assert!(!switch.disable() && switch.enable() && !switch.enable() && switch.clone().disable());
    }
}
