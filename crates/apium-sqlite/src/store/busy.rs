//! How long a connection waits for the transactions of other processes: until one deadline, however many statements
//! wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Until when the statements of one connection wait for other processes.
#[derive(Debug, Clone)]
pub(crate) struct BusyDeadline(Arc<Mutex<Instant>>);

impl BusyDeadline {
    /// The deadline that ends after `limit`.
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Arc::new(Mutex::new(later(limit))))
    }

    /// From now on the deadline ends after `limit`.
    pub(crate) fn restart(&self, limit: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = later(limit);
    }

    /// What SQLite calls while another process has the file locked: it pauses, and says whether to try again.
    pub(crate) fn handler(&self) -> impl FnMut(i32) -> bool + Send + 'static {
        let deadline = self.clone();
        move |attempt| {
            // Transactions are short: try again soon at first, then less often.
            thread::park_timeout(Duration::from_micros(if attempt < 20 { 100 } else { 1000 }));
            Instant::now() < *deadline.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

fn later(limit: Duration) -> Instant {
    let now = Instant::now();
    // A limit without end is a year.
    now.checked_add(limit).unwrap_or(now + Duration::from_secs(31_536_000))
}
