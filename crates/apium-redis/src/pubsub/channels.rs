//! Which channels are needed, and who waits for a confirmation. Callers write here, and the connection reads here what
//! to do.

use std::collections::{HashMap, HashSet};

use apium_transport::error::Result;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What can be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChannelName {
    Channel(String),
    /// A glob pattern of channels, as Redis matches them.
    Pattern(String),
}

/// A request for confirmation: a caller waits until all that was needed before is subscribed.
#[derive(Debug)]
pub(crate) struct ConfirmRequest {
    /// Whether the server must answer a command that is sent after the request.
    pub(crate) round_trip: bool,
    pub(crate) done: oneshot::Sender<Result<()>>,
}

/// The channels that the callers need, and the state of the connection.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// How many callers need each name.
    counts: HashMap<ChannelName, usize>,
    /// Names that became needed or unneeded since the connection looked. Empty while there is no connection.
    changed: HashSet<ChannelName>,
    /// Whether some of the changed names are needed.
    pub(crate) has_new: bool,
    /// Since when some names are subscribed that nobody needs.
    pub(crate) unneeded_since: Option<Instant>,
    pub(crate) requests: Vec<ConfirmRequest>,
    connected: bool,
    /// Since when and why there is no connection.
    pub(crate) broken: Option<(Timestamp, String)>,
    pub(crate) closed: bool,
}

/// What the connection has to do next.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<ChannelName>,
    pub(crate) remove: Vec<ChannelName>,
    pub(crate) requests: Vec<ConfirmRequest>,
}

impl Channels {
    /// One more caller needs each of these names.
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

    /// One caller less needs each of these names.
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

    /// Whether somebody needs this name.
    pub(crate) fn is_needed(&self, name: &ChannelName) -> bool {
        self.counts.contains_key(name)
    }

    /// Whether nobody needs or waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.counts.is_empty() && self.requests.is_empty()
    }

    /// There is a new connection. Returns all that must be subscribed on it.
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

    /// The connection is gone. The requests in `waiting` go on waiting for the next one.
    pub(crate) fn disconnected(&mut self, mut waiting: Vec<ConfirmRequest>) {
        self.connected = false;
        self.changed.clear();
        self.unneeded_since = None;
        self.has_new = false;
        waiting.append(&mut self.requests);
        self.requests = waiting;
    }

    /// Takes what has changed, compared with what is `confirmed`.
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
