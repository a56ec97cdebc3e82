//! The mailboxes for replies that a broker has open, by their names in the server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apium_transport::broker::broadcast::MailboxSpec;

use crate::connection::background::Background;
use crate::keys::broker_keys::Keys;

/// The names of a mailbox for replies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReplyList {
    pub(crate) exchange: Arc<str>,
    /// The member of the set of bindings.
    pub(crate) binding: String,
    /// The list of each priority. Replies have none and come by the first.
    pub(crate) lists: Vec<String>,
}

impl ReplyList {
    pub(crate) fn new(keys: &Keys, spec: &MailboxSpec) -> Arc<Self> {
        Arc::new(Self {
            exchange: spec.exchange.name.clone(),
            binding: keys.binding_member(&spec.binding, "", &spec.queue),
            lists: keys.lists(&spec.queue),
        })
    }

    /// The list by which replies come.
    pub(crate) fn list(&self) -> &str {
        self.lists.first().map_or("", String::as_str)
    }

    /// Its name among all mailboxes.
    pub(crate) fn name(&self, keys: &Keys) -> String {
        format!("{}{}{}", self.exchange, keys.separator(), self.binding)
    }
}

/// The mailboxes for replies of a broker.
#[derive(Debug, Default)]
pub(crate) struct ReplyLists {
    lists: Mutex<Lists>,
    /// Locked while mailboxes are opened or deleted, so that no deletion meets a new mailbox of the same name.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// Those that are open, and those that are to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) open: Vec<Arc<ReplyList>>,
    /// Those that were dropped, and are not deleted yet.
    pub(crate) dropped: Vec<Arc<ReplyList>>,
    pub(crate) deleting: Vec<Background>,
}

impl ReplyLists {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
