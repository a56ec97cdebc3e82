//! Which channels somebody needs, and who waits for a confirmation. Both the callers and the connection look here.

use std::collections::{HashMap, HashSet};

use apium_transport::error::Result;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What can be subscribed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Channel(String),
    /// A pattern of channels, in Redis' words for them.
    Pattern(String),
}

/// Somebody who waits until all that was wanted before is confirmed.
#[derive(Debug)]
pub(crate) struct Request {
    /// Whether the server must have answered something that was sent after the request.
    pub(crate) round_trip: bool,
    pub(crate) done: oneshot::Sender<Result<()>>,
}

/// The needs of all callers.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    counts: HashMap<Name, usize>,
    /// Names whose need began or ended since the connection looked; kept while there is one.
    touched: HashSet<Name>,
    /// Whether names are needed that the connection has not looked at.
    pub(crate) begun: bool,
    /// Since when there are names that nobody needs any more.
    pub(crate) ended: Option<Instant>,
    pub(crate) requests: Vec<Request>,
    connected: bool,
    /// Since when, and why, there is no connection.
    pub(crate) broken: Option<(Timestamp, String)>,
    pub(crate) closed: bool,
}

/// What the connection has to do.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<Name>,
    pub(crate) remove: Vec<Name>,
    pub(crate) requests: Vec<Request>,
}

impl Wanted {
    /// Counts one more need of each name.
    pub(crate) fn begin(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            let count = self.counts.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 && self.connected {
                self.touched.insert(name);
                self.begun = true;
            }
        }
    }

    /// Counts one need of each name less.
    pub(crate) fn end(&mut self, names: impl IntoIterator<Item = Name>, now: Instant) {
        for name in names {
            let Some(count) = self.counts.get_mut(&name) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&name);
                if self.connected {
                    self.touched.insert(name);
                    self.ended.get_or_insert(now);
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
        self.touched.clear();
        self.ended = None;
        self.begun = false;
        Change {
            add: self.counts.keys().cloned().collect(),
            remove: Vec::new(),
            requests: std::mem::take(&mut self.requests),
        }
    }

    /// The connection is gone; who waited goes on waiting.
    pub(crate) fn disconnected(&mut self, mut waiting: Vec<Request>) {
        self.connected = false;
        self.touched.clear();
        self.ended = None;
        self.begun = false;
        waiting.append(&mut self.requests);
        self.requests = waiting;
    }

    /// What has changed against what is `confirmed`.
    pub(crate) fn change(&mut self, confirmed: &HashSet<Name>) -> Change {
        let mut change = Change { requests: std::mem::take(&mut self.requests), ..Change::default() };
        self.ended = None;
        self.begun = false;
        for name in self.touched.drain() {
            match (self.counts.contains_key(&name), confirmed.contains(&name)) {
                (true, false) => change.add.push(name),
                (false, true) => change.remove.push(name),
                _ => {}
            }
        }
        change
    }
}
