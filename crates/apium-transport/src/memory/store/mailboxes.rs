//! The mailboxes of broadcasts: each is a list.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::broker::broadcast::{Broadcasted, MailboxSpec, Received};

/// A mailbox that somebody listens to.
#[derive(Debug)]
pub(crate) struct MailboxState {
    pub(crate) spec: MailboxSpec,
    received: Mutex<(VecDeque<Broadcasted>, bool)>,
    pub(crate) wake: Notify,
    /// Whether the handle of its broker was closed.
    pub(crate) closed: Arc<AtomicBool>,
}

impl MailboxState {
    pub(crate) fn new(spec: MailboxSpec, closed: Arc<AtomicBool>) -> Self {
        Self { spec, received: Mutex::default(), wake: Notify::new(), closed }
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<Broadcasted>, bool)> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn matches(&self, exchange: &str, routing_key: &str) -> bool {
        let MailboxSpec { exchange: own, binding, .. } = &self.spec;
        *own.name == *exchange && own.kind.routes(binding, routing_key)
    }

    pub(crate) fn add(&self, message: Broadcasted) {
        let (messages, missed) = &mut *self.lock();
        messages.push_back(message);
        while messages.len() > self.spec.capacity {
            messages.pop_front();
            *missed = true;
        }
    }

    pub(crate) fn take(&self) -> Option<Received> {
        let (messages, missed) = &mut *self.lock();
        if messages.is_empty() {
            return None;
        }
        Some(Received { messages: messages.drain(..).collect(), missed: std::mem::take(missed) })
    }

    pub(crate) fn close(&self, handle: &Arc<AtomicBool>) {
        if Arc::ptr_eq(&self.closed, handle) {
            self.wake.notify_one();
        }
    }
}
