//! The condition of a store: whether it can be written, and whether it has closed itself for good.
//!
//! After a failed flush the next one may succeed although the disk has lost what was written, and what is damaged gets
//! worse by writing. So the store closes itself for good then, and says so: in each error, in its health, and by that
//! the worker on it stops.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use apium_transport::clock::{Clock, Moment};
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;

/// What failed last so long ago, and was not tried since, does not keep the store red once something was written.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The condition of one store.
#[derive(Debug)]
pub(crate) struct Condition {
    clock: Clock,
    failures: Mutex<Failures>,
    /// Whether the health is red, to be read without the lock.
    is_red: AtomicBool,
    /// Whether the store closed itself for good.
    is_over: AtomicBool,
    /// The handles that are closed with the store.
    handles: Mutex<Vec<Weak<AtomicBool>>>,
}

#[derive(Debug)]
struct Failures {
    health: Health,
    /// What failed, and did not succeed since.
    kinds: Vec<&'static str>,
    last: Moment,
}

impl Condition {
    pub(crate) fn new(clock: Clock) -> Self {
        let failures = Failures { health: Health::Green, kinds: Vec::new(), last: Moment::FIRST };
        Self {
            clock,
            failures: Mutex::new(failures),
            is_red: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            handles: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the flag of a handle, which is set when the store closes itself.
    pub(crate) fn add_handle(&self, closed: &Arc<AtomicBool>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(Arc::downgrade(closed));
    }

    /// The health of the store.
    pub(crate) fn health(&self) -> Health {
        match self.is_red.load(Ordering::Acquire) {
            true => self.lock().health.clone(),
            false => Health::Green,
        }
    }

    /// Whether something failed that has not succeeded since.
    pub(crate) fn is_red(&self) -> bool {
        self.is_red.load(Ordering::Acquire)
    }

    /// Whether the store closed itself for good.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// This was written. The store stays red while something else is failing.
    pub(crate) fn set_written(&self, done: impl Iterator<Item = &'static str>) {
        self.set_done(done, true);
    }

    /// This was read. It does not show that something can be written.
    pub(crate) fn set_read(&self, what: &'static str) {
        self.set_done(std::iter::once(what), false);
    }

    fn set_done(&self, done: impl Iterator<Item = &'static str>, written: bool) {
        if !self.is_red() || self.is_over() {
            return;
        }
        let mut failures = self.lock();
        if written && self.clock.moment().saturating_since(failures.last) > FORGOTTEN_AFTER {
            failures.kinds.clear();
        }
        for what in done {
            failures.kinds.retain(|failed| *failed != what);
        }
        if failures.kinds.is_empty() {
            failures.health = Health::Green;
            self.is_red.store(false, Ordering::Release);
        }
    }

    /// This failed, and is to be tried again.
    pub(crate) fn set_failed(&self, what: &'static str, reason: &str) {
        let mut failures = self.lock();
        if self.is_over() {
            return;
        }
        failures.last = self.clock.moment();
        if !failures.kinds.contains(&what) {
            failures.kinds.push(what);
        }
        // A new reason does not change since when it is red.
        let since = if let Health::Red { since, .. } = failures.health { since } else { self.clock.now() };
        failures.health = Health::Red { since, reason: reason.to_owned() };
        self.is_red.store(true, Ordering::Release);
    }

    /// Closes the store for good. Returns whether it was open.
    pub(crate) fn set_over(&self, reason: &str) -> bool {
        let mut failures = self.lock();
        if self.is_over.swap(true, Ordering::AcqRel) {
            return false;
        }
        let reason = format!("the store is closed for good: {reason}");
        failures.health = Health::Red { since: self.clock.now(), reason };
        self.is_red.store(true, Ordering::Release);
        drop(failures);
        for handle in self.handles.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            handle.store(true, Ordering::Release);
        }
        true
    }

    /// Refuses what is to be done when the store closed itself for good.
    pub(crate) fn check(&self, what: &str, path: &Path) -> Result<()> {
        match self.is_over() {
            false => Ok(()),
            true => Err(self.error(what, path)),
        }
    }

    fn error(&self, what: &str, path: &Path) -> Error {
        let reason = match &self.lock().health {
            Health::Red { reason, .. } => reason.clone(),
            Health::Green => String::new(),
        };
        Error::new(ErrorKind::Unusable, format!("{what} in {}: {reason}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn it_is_red_until_what_failed_succeeds() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let condition = Condition::new(clock.clone());
        assert!(condition.health().is_green());
        condition.set_failed("settle", "the disk is full");
        clock.advance(Duration::from_secs(1));
        condition.set_failed("publish", "the disk is still full");
        let red = Health::Red { since: Timestamp::UNIX_EPOCH, reason: "the disk is still full".to_owned() };
        condition.set_written(["renew leases", "publish"].into_iter());
        assert_eq!(condition.health(), red);
        condition.set_written(["settle"].into_iter());
        assert!(condition.health().is_green() && !condition.is_red());
        condition.check("publish", Path::new("/q.db")).unwrap();
    }

    #[test]
    fn what_nobody_tries_again_is_forgotten() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let condition = Condition::new(clock.clone());
        condition.set_failed("settle", "the disk is full");
        clock.advance(FORGOTTEN_AFTER);
        condition.set_written(["renew leases"].into_iter());
        assert!(condition.is_red());
        clock.advance(Duration::from_micros(1));
        condition.set_read("read results");
        assert!(condition.is_red(), "a full disk can be read");
        condition.set_written(["renew leases"].into_iter());
        assert!(!condition.is_red());
    }

    #[test]
    fn what_closed_itself_stays_closed() {
        let condition = Condition::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let handle = Arc::new(AtomicBool::new(false));
        condition.add_handle(&handle);
        assert!(condition.set_over("the disk lost it"));
        assert!(!condition.set_over("again"));
        assert!(handle.load(Ordering::Acquire));
        condition.set_failed("publish", "the disk is full");
        condition.set_written(["publish"].into_iter());
        let error = condition.check("publish", Path::new("/q.db")).unwrap_err();
        assert!(error.is_final());
        assert_eq!(error.to_string(), "publish in /q.db: the store is closed for good: the disk lost it");
        assert!(!condition.health().is_green());
    }
}
