//! The lists that a consumer reads, one for each priority step of each queue, and its waits for those that are empty.
//!
//! Each wait has a connection of its own, so a server that goes away breaks as many connections as there are lists.
//! That is one event: [`QueueLists::wait_ended`] reports one error of it at most, and none where a claim shows at once
//! how things stand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::Result;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::consumer::blocking_wait::{BlockingConnection, WaitEnd, WaitHandle, WaitResult, wait};
use crate::consumer::claim::{ClaimRequest, Claimed};
use crate::consumer::handoff::return_handoffs;
use crate::consumer::state::ConsumerState;
use crate::keys::broker_keys::QueueList;
use crate::options::broker::QueueOrder;
use crate::shared::BrokerShared;

/// A wait that lasted this long worked until it broke.
const WORKED: Duration = Duration::from_millis(100);

/// What the consumer knows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListState {
    /// There may be messages in it.
    Ready,
    /// It was empty.
    Empty,
    /// A wait for it is running.
    Waiting,
    /// A wait has moved a message to the handoff list; whether there may be more in the list.
    Moved { more: bool },
}

#[derive(Debug)]
struct Entry {
    queue_list: Arc<QueueList>,
    step: u8,
    state: ListState,
    /// The handoff list to which its wait moves a message.
    handoff: String,
}

/// The lists of a consumer, by number, and its waits.
pub(crate) struct QueueLists {
    shared: Arc<BrokerShared>,
    state: Arc<ConsumerState>,
    /// The consumer's id in the names of the handoff lists.
    id: Arc<str>,
    entries: HashMap<usize, Entry>,
    next_number: usize,
    /// Queues in the order in which they are read.
    order: Vec<Arc<str>>,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, WaitEnd>>,
    /// The handle of each wait, by the number of its list, and the round in which it began.
    wait_handles: HashMap<usize, (Arc<WaitHandle>, u64)>,
    /// Connections for waits that are not in use.
    idle_connections: Vec<BlockingConnection>,
    /// Counts up when waits break. The other waits of a round that is over break by the same event.
    round: u64,
    /// Whether a wait of this round has worked. A new break is then no reason to pause.
    round_worked: bool,
    /// The number of the connection for commands when the waits began.
    connection_number: u64,
}

/// What a consumer learns from the end of waits.
#[derive(Debug, Default)]
pub(crate) struct WaitsEnded {
    /// Some of them broke, and may have moved messages before.
    pub(crate) broke: bool,
    /// The error to report, if any.
    pub(crate) error: Option<apium_transport::error::Error>,
}

impl QueueLists {
    pub(crate) fn new(shared: Arc<BrokerShared>, state: Arc<ConsumerState>) -> Self {
        let id = state.id();
        Self {
            shared,
            state,
            id,
            entries: HashMap::new(),
            next_number: 0,
            order: Vec::new(),
            waits: FuturesUnordered::new(),
            wait_handles: HashMap::new(),
            idle_connections: Vec::new(),
            round: 0,
            round_worked: true,
            connection_number: 0,
        }
    }

    /// Adds a queue.
    pub(crate) fn add(&mut self, queue: &str) {
        let name: Arc<str> = queue.into();
        for step in self.shared.keys.steps.iter().copied() {
            let queue_list = Arc::new(QueueList::new(&self.shared.keys, &name, step));
            let handoff = self.shared.keys.handoff(&self.id, &queue_list.key);
            self.entries.insert(self.next_number, Entry { queue_list, step, state: ListState::Ready, handoff });
            self.next_number += 1;
        }
        self.order.push(name);
        if self.shared.options.queue_order == QueueOrder::Sorted {
            self.order.sort();
        }
        self.share_order();
    }

    /// Removes a queue. No wait may be running.
    pub(crate) fn remove(&mut self, queue: &str) {
        self.entries.retain(|_, entry| &*entry.queue_list.queue != queue);
        self.order.retain(|other| &**other != queue);
        self.share_order();
    }

    /// Says from which lists settlements claim what comes next, and in which order.
    fn share_order(&self) {
        let lists = |queue: &Arc<str>| {
            let mut lists: Vec<&Entry> =
                self.entries.values().filter(|entry| entry.queue_list.queue == *queue).collect();
            lists.sort_by_key(|entry| entry.step);
            lists.into_iter().map(|entry| entry.queue_list.clone()).collect()
        };
        let rotates = self.shared.options.queue_order == QueueOrder::RoundRobin;
        self.state.set_next_lists(self.order.iter().map(lists).collect(), rotates);
    }

    /// The consumer's id in the names of the handoff lists.
    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// Whether the consumer has got a new id since. Then all waits must end before another one may start.
    pub(crate) fn is_outdated(&self) -> bool {
        self.state.id() != self.id
    }

    /// Uses the consumer's new id. No wait may be running, and the handoff lists must be empty.
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

    /// Whether a wait has moved a message that is not claimed yet.
    pub(crate) fn any_moved(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, ListState::Moved { .. }))
    }

    /// The lists to claim from, in order: the first step of every queue, then the second, and so on.
    pub(crate) fn claim_requests(&mut self) -> Vec<ClaimRequest> {
        let rank = |queue: &str| self.order.iter().position(|other| &**other == queue);
        let mut requests: Vec<(u8, Option<usize>, ClaimRequest)> = Vec::new();
        for (list_number, entry) in &self.entries {
            let (handoff, reads_list) = match entry.state {
                ListState::Ready => (None, true),
                ListState::Moved { more } => (Some(entry.handoff.clone()), more),
                ListState::Empty | ListState::Waiting => continue,
            };
            let queue_list = entry.queue_list.clone();
            let request = ClaimRequest { queue_list, list_number: *list_number, handoff, reads_list };
            requests.push((entry.step, rank(&entry.queue_list.queue), request));
        }
        requests.sort_by_key(|(step, rank, _)| (*step, *rank));
        if self.shared.options.queue_order == QueueOrder::RoundRobin && self.order.len() > 1 {
            self.order.rotate_left(1);
        }
        requests.into_iter().map(|(.., request)| request).collect()
    }

    /// Takes note of a claim: a list that gave less than was asked for is empty.
    pub(crate) fn claim_answered(&mut self, claimed: &Claimed) {
        let drained = claimed.envelopes.len() < claimed.wanted;
        let last = claimed.counts.iter().rposition(|(_, count)| *count > 0);
        for (at, (request, _)) in claimed.counts.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&request.list_number) else { continue };
            if !drained && last.is_none_or(|last| at > last) {
                // The claim was full before it came to this list.
                continue;
            }
            // All lists before the last one that gave messages were read to their ends.
            let more = request.reads_list && !drained && last == Some(at);
            entry.state = if more { ListState::Ready } else { ListState::Empty };
        }
    }

    /// Starts a wait for every list that was empty.
    pub(crate) fn start_waits(&mut self) {
        let mut started = Vec::new();
        for (list_number, entry) in &mut self.entries {
            if entry.state == ListState::Empty {
                entry.state = ListState::Waiting;
                started.push((*list_number, (entry.queue_list.key.clone(), entry.handoff.clone())));
            }
        }
        if self.waits.is_empty() {
            self.connection_number = self.shared.connection.number();
        }
        for (list_number, lists) in started {
            let handle = Arc::new(WaitHandle::default());
            self.wait_handles.insert(list_number, (handle.clone(), self.round));
            self.waits.push(Box::pin(wait(
                self.shared.clone(),
                list_number,
                lists,
                self.idle_connections.pop(),
                handle,
            )));
        }
    }

    /// Takes note of the end of a wait, and of all others that have ended by now. `at_once` says whether a message was
    /// in the list before the wait began, so that there may be more.
    pub(crate) fn wait_ended(&mut self, first: WaitEnd, at_once: impl Fn(Duration) -> bool) -> WaitsEnded {
        let mut ended = WaitsEnded::default();
        let mut next = Some(first);
        while let Some(wait_end) = next {
            self.one_wait_ended(wait_end, &at_once, &mut ended);
            next = self.waits.next().now_or_never().flatten();
        }
        ended
    }

    fn one_wait_ended(&mut self, wait_end: WaitEnd, at_once: &impl Fn(Duration) -> bool, ended: &mut WaitsEnded) {
        let WaitEnd { list_number, lasted, connection, result } = wait_end;
        let round = self.wait_handles.remove(&list_number).map_or(self.round, |(_, round)| round);
        self.idle_connections.extend(connection);
        let of_this_round = round == self.round;
        self.round_worked |= of_this_round && result.is_ok() && !lasted.is_zero();
        let state = match result {
            Ok(WaitResult::Moved { after }) => ListState::Moved { more: at_once(after) },
            Ok(WaitResult::Nothing) => ListState::Empty,
            Err(error) => {
                ended.broke = true;
                // A claim follows, and it reports a server that is away. Where waits alone fail again and again, as
                // when the server takes no more connections, the error is reported, so that the caller pauses.
                let is_expected = error.is_retryable() && (!of_this_round || self.round_worked || lasted >= WORKED);
                if !is_expected && ended.error.is_none() {
                    ended.error = Some(error);
                }
                if of_this_round {
                    self.round += 1;
                    self.round_worked = false;
                }
                // It may have moved a message before it broke.
                ListState::Moved { more: true }
            }
        };
        if let Some(entry) = self.entries.get_mut(&list_number) {
            entry.state = state;
        }
    }

    /// Drops all waits if the connection for commands was replaced since they began: then those that have not ended
    /// wait on connections that are dead, or at a server that is not the master any more. Whether it dropped any.
    pub(crate) fn drop_outdated_waits(&mut self) -> bool {
        let number = self.shared.connection.number();
        if number == self.connection_number || self.waits.is_empty() {
            return false;
        }
        self.connection_number = number;
        self.waits.clear();
        self.wait_handles.clear();
        self.idle_connections.clear();
        self.round += 1;
        for entry in self.entries.values_mut().filter(|entry| entry.state == ListState::Waiting) {
            entry.state = ListState::Moved { more: true };
        }
        true
    }

    /// Cancels the waits. Each of them ends soon after.
    pub(crate) async fn cancel_waits(&mut self) -> Result<()> {
        let ids: Vec<i64> = self.wait_handles.values().filter_map(|(handle, _)| handle.cancel()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.cmd("CLIENT").arg("UNBLOCK").arg(id).arg("TIMEOUT");
        }
        self.shared.connection.pipeline("cancel a wait", &pipeline).await.map(drop)
    }

    /// Returns the messages that waits have moved and that are not claimed.
    pub(crate) async fn return_moved(&mut self) -> Result<()> {
        let moved: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.state, ListState::Moved { .. }))
            .map(|(list_number, _)| *list_number)
            .collect();
        self.return_of(&moved).await?;
        for list_number in moved {
            if let Some(entry) = self.entries.get_mut(&list_number) {
                entry.state = ListState::Ready;
            }
        }
        Ok(())
    }

    /// Returns the messages of every handoff list, also those of which the consumer does not know.
    pub(crate) async fn return_all(&mut self) -> Result<()> {
        let all: Vec<usize> = self.entries.keys().copied().collect();
        self.return_of(&all).await?;
        for entry in self.entries.values_mut() {
            entry.state = ListState::Ready;
        }
        Ok(())
    }

    async fn return_of(&mut self, list_numbers: &[usize]) -> Result<()> {
        let pairs: Vec<(String, String)> = list_numbers
            .iter()
            .filter_map(|list_number| self.entries.get(list_number))
            .map(|entry| (entry.handoff.clone(), entry.queue_list.key.clone()))
            .collect();
        return_handoffs(&self.shared, &pairs).await
    }
}
