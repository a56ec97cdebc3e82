//! The lists that a consumer reads: each queue has one for each priority step. Each is to be claimed from, or waited for.

use std::collections::HashMap;
use std::sync::Arc;

use apium_transport::error::Result;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::consumer::blocking_wait::{BlockingConnection, WaitEnd, WaitHandle, WaitResult, wait};
use crate::consumer::claim::{ClaimRequest, Claimed};
use crate::consumer::handoff::return_handoffs;
use crate::consumer::state::ConsumerState;
use crate::keys::queue_list::QueueList;
use crate::options::broker::QueueOrder;
use crate::shared::BrokerShared;

/// What is known of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListState {
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
    queue_list: Arc<QueueList>,
    step: u8,
    state: ListState,
    /// Where its wait moves a message.
    handoff: String,
}

/// The lists of a consumer, and its waits.
pub(crate) struct QueueLists {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    /// The consumer's id in the names of the lists that waits move to.
    id: Arc<str>,
    entries: HashMap<usize, Entry>,
    next_number: usize,
    /// Queues in the order in which they are read.
    order: Vec<Arc<str>>,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, WaitEnd>>,
    wait_handles: HashMap<usize, Arc<WaitHandle>>,
    /// Connections for waits that nobody uses now.
    idle_connections: Vec<BlockingConnection>,
}

impl QueueLists {
    pub(crate) fn new(core: Arc<BrokerShared>, seat: Arc<ConsumerState>) -> Self {
        let id = seat.id();
        Self {
            shared: core,
            state: seat,
            id,
            entries: HashMap::new(),
            next_number: 0,
            order: Vec::new(),
            waits: FuturesUnordered::new(),
            wait_handles: HashMap::new(),
            idle_connections: Vec::new(),
        }
    }

    /// Reads one more queue.
    pub(crate) fn add(&mut self, queue: &str) {
        let name: Arc<str> = queue.into();
        for step in self.shared.keys.steps.iter().copied() {
            let source = Arc::new(QueueList::new(&self.shared.keys, &name, step));
            let taken = self.shared.keys.handoff(&self.id, &source.key);
            self.entries
                .insert(self.next_number, Entry { queue_list: source, step, state: ListState::Ready, handoff: taken });
            self.next_number += 1;
        }
        self.order.push(name);
        if self.shared.options.queue_order == QueueOrder::Sorted {
            self.order.sort();
        }
    }

    /// Reads a queue no longer. No wait is out.
    pub(crate) fn remove(&mut self, queue: &str) {
        self.entries.retain(|_, entry| &*entry.queue_list.queue != queue);
        self.order.retain(|other| &**other != queue);
    }

    /// The consumer's id in the names of the lists that waits move to.
    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// Whether the consumer had to enter anew since: then waits are to be ended before others are begun.
    pub(crate) fn is_outdated(&self) -> bool {
        self.state.id() != self.id
    }

    /// Takes the consumer's new id. No wait is out, and nothing that one has moved is left.
    pub(crate) fn renew(&mut self) {
        self.id = self.state.id();
        for entry in self.entries.values_mut() {
            entry.handoff = self.shared.keys.handoff(&self.id, &entry.queue_list.key);
        }
    }

    /// Whether anything can be claimed.
    pub(crate) fn any_ready(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, ListState::Ready | ListState::Moved { .. }))
    }

    /// Whether a wait has moved something that is not claimed.
    pub(crate) fn any_moved(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, ListState::Moved { .. }))
    }

    /// What to claim from, in order: the first step of every queue, then the next.
    pub(crate) fn claim_requests(&mut self) -> Vec<ClaimRequest> {
        let rank = |queue: &str| self.order.iter().position(|other| &**other == queue);
        let mut asked: Vec<(u8, Option<usize>, ClaimRequest)> = Vec::new();
        for (place, entry) in &self.entries {
            let (taken, list) = match entry.state {
                ListState::Ready => (None, true),
                ListState::Moved { more } => (Some(entry.handoff.clone()), more),
                ListState::Empty | ListState::Waiting => continue,
            };
            let one = ClaimRequest {
                queue_list: entry.queue_list.clone(),
                list_number: *place,
                handoff: taken,
                reads_list: list,
            };
            asked.push((entry.step, rank(&entry.queue_list.queue), one));
        }
        asked.sort_by_key(|(step, rank, _)| (*step, *rank));
        if self.shared.options.queue_order == QueueOrder::RoundRobin && self.order.len() > 1 {
            self.order.rotate_left(1);
        }
        asked.into_iter().map(|(.., one)| one).collect()
    }

    /// Learns from a claim: whoever gave less than could be taken is empty.
    pub(crate) fn claim_answered(&mut self, claimed: &Claimed) {
        let drained = claimed.envelopes.len() < claimed.wanted;
        let last = claimed.counts.iter().rposition(|(_, count)| *count > 0);
        for (at, (asked, _)) in claimed.counts.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&asked.list_number) else { continue };
            if !drained && last.is_none_or(|last| at > last) {
                // It was not read: there was no room left.
                continue;
            }
            // What stands before the one that was read last was read to its end.
            let more = asked.reads_list && !drained && last == Some(at);
            entry.state = if more { ListState::Ready } else { ListState::Empty };
        }
    }

    /// Waits for every list that was empty.
    pub(crate) fn start_waits(&mut self) {
        let mut begun = Vec::new();
        for (place, entry) in &mut self.entries {
            if entry.state == ListState::Empty {
                entry.state = ListState::Waiting;
                begun.push((*place, (entry.queue_list.key.clone(), entry.handoff.clone())));
            }
        }
        for (place, lists) in begun {
            let control = Arc::new(WaitHandle::default());
            self.wait_handles.insert(place, control.clone());
            self.waits.push(Box::pin(wait(self.shared.clone(), place, lists, self.idle_connections.pop(), control)));
        }
    }

    /// A wait has ended.
    pub(crate) fn wait_ended(&mut self, ended: WaitEnd, at_once: bool) -> Result<()> {
        self.wait_handles.remove(&ended.list_number);
        self.idle_connections.extend(ended.connection);
        let standing = match &ended.result {
            Ok(WaitResult::Moved { .. }) => ListState::Moved { more: at_once },
            Ok(WaitResult::Nothing) => ListState::Empty,
            // It may have moved something before it broke.
            Err(_) => ListState::Moved { more: true },
        };
        if let Some(entry) = self.entries.get_mut(&ended.list_number) {
            entry.state = standing;
        }
        ended.result.map(drop)
    }

    /// Calls the waits off; each then ends soon.
    pub(crate) async fn cancel_waits(&mut self) -> Result<()> {
        let ids: Vec<i64> = self.wait_handles.values().filter_map(|control| control.cancel()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("CLIENT").arg("UNBLOCK").arg(id).arg("TIMEOUT");
        }
        self.shared.connection.pipeline("call off a wait", &pipeline).await.map(drop)
    }

    /// Gives back what waits have moved and nobody claimed.
    pub(crate) async fn return_moved(&mut self) -> Result<()> {
        let moved: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.state, ListState::Moved { .. }))
            .map(|(place, _)| *place)
            .collect();
        self.return_of(&moved).await?;
        for place in moved {
            if let Some(entry) = self.entries.get_mut(&place) {
                entry.state = ListState::Ready;
            }
        }
        Ok(())
    }

    /// The same for every list, whatever is known of it.
    pub(crate) async fn return_all(&mut self) -> Result<()> {
        let all: Vec<usize> = self.entries.keys().copied().collect();
        self.return_of(&all).await?;
        for entry in self.entries.values_mut() {
            entry.state = ListState::Ready;
        }
        Ok(())
    }

    async fn return_of(&mut self, places: &[usize]) -> Result<()> {
        let pairs: Vec<(String, String)> = places
            .iter()
            .filter_map(|place| self.entries.get(place))
            .map(|entry| (entry.handoff.clone(), entry.queue_list.key.clone()))
            .collect();
        return_handoffs(&self.shared, &pairs).await
    }
}
