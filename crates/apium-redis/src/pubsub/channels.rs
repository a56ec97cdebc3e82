//! Which channels somebody needs, and who waits for a confirmation. Both the callers and the connection look here.

use std::collections::{HashMap, HashSet};

use apium_transport::error::Result;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What can be subscribed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChannelName {
    Channel(String),
    /// A pattern of channels, in Redis' words for them.
    Pattern(String),
}

/// Somebody who waits until all that was wanted before is confirmed.
#[derive(Debug)]
pub(crate) struct ConfirmRequest {
    /// Whether the server must have answered something that was sent after the request.
    pub(crate) round_trip: bool,
    pub(crate) done: oneshot::Sender<Result<()>>,
}

/// The needs of all callers.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    counts: HashMap<ChannelName, usize>,
    /// Names whose need began or ended since the connection looked; kept while there is one.
    changed: HashSet<ChannelName>,
    /// Whether names are needed that the connection has not looked at.
    pub(crate) has_new: bool,
    /// Since when there are names that nobody needs any more.
    pub(crate) unneeded_since: Option<Instant>,
    pub(crate) requests: Vec<ConfirmRequest>,
    connected: bool,
    /// Since when, and why, there is no connection.
    pub(crate) broken: Option<(Timestamp, String)>,
    pub(crate) closed: bool,
}

/// What the connection has to do.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<ChannelName>,
    pub(crate) remove: Vec<ChannelName>,
    pub(crate) requests: Vec<ConfirmRequest>,
}

impl Channels {
    /// Counts one more need of each name.
    pub(crate) fn need(&mut self, names: impl IntoIterator<Item = ChannelName>) {
        for name in names {
            let count = self.counts.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 && self.connected {
                self.changed.insert(name);
                self.has_new = true;
            }
        }
    }

    /// Counts one need of each name less.
    pub(crate) fn release(&mut self, names: impl IntoIterator<Item = ChannelName>, now: Instant) {
        for name in names {
            let Some(count) = self.counts.get_mut(&name) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&name);
                if self.connected {
                    self.changed.insert(name);
                    self.unneeded_since.get_or_insert(now);
                }
            }
        }
    }

    /// Whether anybody needs anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.counts.is_empty() && self.requests.is_empty()
    }

    /// A connection begins: all that is needed has to be subscribed on it.
    pub(crate) fn connected(&mut self) -> Change {
        self.connected = true;
        self.changed.clear();
        self.unneeded_since = None;
        self.has_new = false;
        Change {
            add: self.counts.keys().cloned().collect(),
            remove: Vec::new(),
            requests: std::mem::take(&mut self.requests),
        }
    }

    /// The connection is gone; who waited goes on waiting.
    pub(crate) fn disconnected(&mut self, mut waiting: Vec<ConfirmRequest>) {
        self.connected = false;
        self.changed.clear();
        self.unneeded_since = None;
        self.has_new = false;
        waiting.append(&mut self.requests);
        self.requests = waiting;
    }

    /// What has changed against what is `confirmed`.
    pub(crate) fn change(&mut self, confirmed: &HashSet<ChannelName>) -> Change {
        let mut change = Change { requests: std::mem::take(&mut self.requests), ..Change::default() };
        self.unneeded_since = None;
        self.has_new = false;
        for name in self.changed.drain() {
            match (self.counts.contains_key(&name), confirmed.contains(&name)) {
                (true, false) => change.add.push(name),
                (false, true) => change.remove.push(name),
                _ => {}
            }
        }
        change
    }
}
