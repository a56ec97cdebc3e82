//! The lists that a consumer reads: each queue has one for each priority step. Each is to be claimed from, or waited for.

use std::collections::HashMap;
use std::sync::Arc;

use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::consumer::blocking_wait::{Control, Ended, Outcome, WaitLine, wait};
use crate::consumer::claim::{Asked, Claimed};
use crate::consumer::handoff::put_back;
use crate::consumer::state::Seat;
use crate::keys::queue_list::Source;
use crate::options::broker::QueueOrder;
use crate::shared::Core;

/// What is known of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There may be messages.
    Ready,
    /// It was empty.
    Empty,
    /// A wait is out for it.
    Waiting,
    /// A wait has moved a message of it; and whether there may be more.
    Moved { more: bool },
}

#[derive(Debug)]
struct Entry {
    source: Arc<Source>,
    step: u8,
    standing: Standing,
    /// Where its wait moves a message.
    taken: String,
}

/// The lists of a consumer, and its waits.
pub(crate) struct Lists {
    core: Arc<Core>,
    seat: Arc<Seat>,
    /// The consumer's id in the names of the lists that waits move to.
    id: Arc<str>,
    entries: HashMap<usize, Entry>,
    next_place: usize,
    /// Queues in the order in which they are read.
    order: Vec<Arc<str>>,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, Ended>>,
    controls: HashMap<usize, Arc<Control>>,
    /// Connections for waits that nobody uses now.
    lines: Vec<WaitLine>,
}

impl Lists {
    pub(crate) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        let id = seat.id();
        Self {
            core,
            seat,
            id,
            entries: HashMap::new(),
            next_place: 0,
            order: Vec::new(),
            waits: FuturesUnordered::new(),
            controls: HashMap::new(),
            lines: Vec::new(),
        }
    }

    /// Reads one more queue.
    pub(crate) fn add(&mut self, queue: &str) {
        let name: Arc<str> = queue.into();
        for step in self.core.keys.steps.iter().copied() {
            let source = Arc::new(Source::new(&self.core.keys, &name, step));
            let taken = self.core.keys.taken(&self.id, &source.list);
            self.entries.insert(self.next_place, Entry { source, step, standing: Standing::Ready, taken });
            self.next_place += 1;
        }
        self.order.push(name);
        if self.core.options.order == QueueOrder::Sorted {
            self.order.sort();
        }
    }

    /// Reads a queue no longer. No wait is out.
    pub(crate) fn remove(&mut self, queue: &str) {
        self.entries.retain(|_, entry| &*entry.source.queue != queue);
        self.order.retain(|other| &**other != queue);
    }

    /// The consumer's id in the names of the lists that waits move to.
    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// Whether the consumer had to enter anew since: then waits are to be ended before others are begun.
    pub(crate) fn is_outdated(&self) -> bool {
        self.seat.id() != self.id
    }

    /// Takes the consumer's new id. No wait is out, and nothing that one has moved is left.
    pub(crate) fn renew(&mut self) {
        self.id = self.seat.id();
        for entry in self.entries.values_mut() {
            entry.taken = self.core.keys.taken(&self.id, &entry.source.list);
        }
    }

    /// Whether anything can be claimed.
    pub(crate) fn any_ready(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.standing, Standing::Ready | Standing::Moved { .. }))
    }

    /// Whether a wait has moved something that is not claimed.
    pub(crate) fn any_moved(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.standing, Standing::Moved { .. }))
    }

    /// What to claim from, in order: the first step of every queue, then the next.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        let rank = |queue: &str| self.order.iter().position(|other| &**other == queue);
        let mut asked: Vec<(u8, Option<usize>, Asked)> = Vec::new();
        for (place, entry) in &self.entries {
            let (taken, list) = match entry.standing {
                Standing::Ready => (None, true),
                Standing::Moved { more } => (Some(entry.taken.clone()), more),
                Standing::Empty | Standing::Waiting => continue,
            };
            let one = Asked { source: entry.source.clone(), place: *place, taken, list };
            asked.push((entry.step, rank(&entry.source.queue), one));
        }
        asked.sort_by_key(|(step, rank, _)| (*step, *rank));
        if self.core.options.order == QueueOrder::RoundRobin && self.order.len() > 1 {
            self.order.rotate_left(1);
        }
        asked.into_iter().map(|(.., one)| one).collect()
    }

    /// Learns from a claim: whoever gave less than could be taken is empty.
    pub(crate) fn claimed(&mut self, claimed: &Claimed) {
        let drained = claimed.envelopes.len() < claimed.wanted;
        let last = claimed.counts.iter().rposition(|(_, count)| *count > 0);
        for (at, (asked, _)) in claimed.counts.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&asked.place) else { continue };
            if !drained && last.is_none_or(|last| at > last) {
                // It was not read: there was no room left.
                continue;
            }
            // What stands before the one that was read last was read to its end.
            let more = asked.list && !drained && last == Some(at);
            entry.standing = if more { Standing::Ready } else { Standing::Empty };
        }
    }

    /// Waits for every list that was empty.
    pub(crate) fn begin_waits(&mut self) {
        let mut begun = Vec::new();
        for (place, entry) in &mut self.entries {
            if entry.standing == Standing::Empty {
                entry.standing = Standing::Waiting;
                begun.push((*place, (entry.source.list.clone(), entry.taken.clone())));
            }
        }
        for (place, lists) in begun {
            let control = Arc::new(Control::default());
            self.controls.insert(place, control.clone());
            self.waits.push(Box::pin(wait(self.core.clone(), place, lists, self.lines.pop(), control)));
        }
    }

    /// A wait has ended.
    pub(crate) fn waited(&mut self, ended: Ended, at_once: bool) -> Result<()> {
        self.controls.remove(&ended.place);
        self.lines.extend(ended.line);
        let standing = match &ended.outcome {
            Ok(Outcome::Moved { .. }) => Standing::Moved { more: at_once },
            Ok(Outcome::Nothing) => Standing::Empty,
            // It may have moved something before it broke.
            Err(_) => Standing::Moved { more: true },
        };
        if let Some(entry) = self.entries.get_mut(&ended.place) {
            entry.standing = standing;
        }
        ended.outcome.map(drop)
    }

    /// Calls the waits off; each then ends soon.
    pub(crate) async fn call_off(&mut self) -> Result<()> {
        let ids: Vec<i64> = self.controls.values().filter_map(|control| control.call_off()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("CLIENT").arg("UNBLOCK").arg(id).arg("TIMEOUT");
        }
        self.core.link.pipeline("call off a wait", &pipeline).await.map(drop)
    }

    /// Gives back what waits have moved and nobody claimed.
    pub(crate) async fn put_back(&mut self) -> Result<()> {
        let moved: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.standing, Standing::Moved { .. }))
            .map(|(place, _)| *place)
            .collect();
        self.put_back_of(&moved).await?;
        for place in moved {
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.standing = Standing::Ready;
            }
        }
        Ok(())
    }

    /// The same for every list, whatever is known of it.
    pub(crate) async fn put_back_all(&mut self) -> Result<()> {
        let all: Vec<usize> = self.entries.keys().copied().collect();
        self.put_back_of(&all).await?;
        for entry in self.entries.values_mut() {
            entry.standing = Standing::Ready;
        }
        Ok(())
    }

    async fn put_back_of(&mut self, places: &[usize]) -> Result<()> {
        let pairs: Vec<(String, String)> = places
            .iter()
            .filter_map(|place| self.entries.get(place))
            .map(|entry| (entry.taken.clone(), entry.source.list.clone()))
            .collect();
        put_back(&self.core, &pairs).await
    }
}
