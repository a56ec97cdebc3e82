//! The lists that a consumer reads, one for each priority step of each queue, and its waits for those that are empty.
//!
//! It blocks on the list that had the last two messages, or the last one a while ago, so that one message wakes one
//! consumer, and lets the server track all others. Both use one connection, however many lists there are. At a server
//! without tracking it blocks on each list, with a connection of its own for each. A server that goes away then breaks
//! all of them, which is one event: [`QueueLists::wait_ended`] reports one error of it at most, and none where a claim
//! shows at once how things stand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apium_transport::error::{Error, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use crate::consumer::claim::{ClaimRequest, Claimed, NextList, Waited};
use crate::consumer::handoff::return_handoffs;
use crate::consumer::state::ConsumerState;
use crate::consumer::wait::blocking_wait::{BlockingConnection, WaitEnd, WaitHandle, WaitResult, wait};
use crate::consumer::wait::rivals::Rivals;
use crate::consumer::wait::tracking::{Found, ListChanges, LookEnd, TrackingConnection, look};
use crate::keys::broker_keys::QueueList;
use crate::options::broker::QueueOrder;
use crate::shared::BrokerShared;

/// A wait that lasted this long worked until it broke.
const WORKED: Duration = Duration::from_millis(100);
/// How often all tracked lists are looked at, in case the server does not say what it should.
const LOOK_INTERVAL: Duration = Duration::from_secs(120);
/// How long a consumer does not block after messages have come from different lists. Blocking and no longer blocking
/// cost two commands for each message.
const UNSETTLED: Duration = Duration::from_secs(1);

/// What the consumer knows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListState {
    /// There may be messages in it.
    Ready,
    /// It was empty, and nobody says when it is not any more.
    Empty,
    /// A wait for it is running.
    Waiting,
    /// A wait has moved a message to the handoff list; whether there may be more in the list.
    Moved { more: bool },
    /// A look at it is running.
    Looking,
    /// It was empty, and the server says when it changes.
    Tracked,
    /// The server has said that it changed.
    Changed,
}

#[derive(Debug)]
struct Entry {
    queue_list: Arc<QueueList>,
    step: u8,
    state: ListState,
    /// The handoff list to which its wait moves a message.
    handoff: String,
    /// What settlements see of its state.
    waited: Arc<Waited>,
}

impl Entry {
    fn set_state(&mut self, state: ListState) {
        self.state = state;
        self.waited.set(
            matches!(state, ListState::Waiting | ListState::Tracked),
            matches!(state, ListState::Waiting | ListState::Moved { .. }),
        );
    }
}

/// What is running in the background of a consumer that waits, and how it ended.
#[derive(Debug)]
pub(crate) enum WaitEvent {
    Wait(WaitEnd),
    Look(LookEnd),
}

/// The tracking of lists.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    connection: Option<TrackingConnection>,
    changes: Arc<ListChanges>,
    rivals: Rivals,
    /// When the consumer acts on the changes that it knows of.
    act_at: Option<Instant>,
    /// Until when all lists are tracked, and the consumer blocks on none.
    unsettled_until: Option<Instant>,
    /// Whether it has acted, and does not know yet whether others came before.
    acted: bool,
}

impl Tracking {
    /// Returns when there is news of changes, or when it is time to act on older news, or to block.
    pub(crate) async fn changed(&self) {
        let due = async {
            match self.act_at.into_iter().chain(self.unsettled_until).min() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.changes.notify.notified() => {}
            () = due => {}
        }
    }
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
    /// The list that had a message last, or the first one.
    blocks_on: usize,
    pub(crate) tracking: Tracking,
    pub(crate) waits: FuturesUnordered<BoxFuture<'static, WaitEvent>>,
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
    /// Others have taken this consumer for dead.
    pub(crate) closed: bool,
    /// The error to report, if any.
    pub(crate) error: Option<Error>,
}

impl QueueLists {
    pub(crate) fn new(shared: Arc<BrokerShared>, state: Arc<ConsumerState>) -> Self {
        let id = state.id();
        let mut tracking = Tracking::default();
        tracking.rivals.count(state.consumers.load(Ordering::Relaxed), Instant::now());
        Self {
            shared,
            state,
            id,
            entries: HashMap::new(),
            next_number: 0,
            order: Vec::new(),
            blocks_on: 0,
            tracking,
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
            self.entries.insert(
                self.next_number,
                Entry { queue_list, step, state: ListState::Ready, handoff, waited: Arc::default() },
            );
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
            let next_list =
                |entry: &Entry| NextList { queue_list: entry.queue_list.clone(), waited: entry.waited.clone() };
            lists.into_iter().map(next_list).collect()
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

    /// The lists to claim from, in order: the first step of every queue, then the second, and so on. Those that have
    /// changed are among them: since a claim is sent anyway, they cost nothing.
    pub(crate) fn claim_requests(&mut self) -> Vec<ClaimRequest> {
        self.note_changes();
        self.act_on_changes(ListState::Ready);
        let rank = |queue: &str| self.order.iter().position(|other| &**other == queue);
        let mut requests: Vec<(u8, Option<usize>, ClaimRequest)> = Vec::new();
        for (list_number, entry) in &self.entries {
            let (handoff, reads_list) = match entry.state {
                ListState::Ready => (None, true),
                ListState::Moved { more } => (Some(entry.handoff.clone()), more),
                _ => continue,
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
        let drained = claimed.messages.len() < claimed.wanted;
        let last = claimed.counts.iter().rposition(|(_, count)| *count > 0);
        for (at, (request, _)) in claimed.counts.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(&request.list_number) else { continue };
            if !drained && last.is_none_or(|last| at > last) {
                // The claim was full before it came to this list.
                continue;
            }
            // All lists before the last one that gave messages were read to their ends.
            let more = request.reads_list && !drained && last == Some(at);
            entry.set_state(if more { ListState::Ready } else { ListState::Empty });
        }
        let last = last.map(|last| claimed.counts[last].0.list_number);
        match (std::mem::take(&mut self.tracking.acted), last) {
            (false, Some(last)) => self.had_message(last),
            (false, None) => {}
            // That there was a message is noted already.
            (true, Some(last)) => {
                self.blocks_on = last;
                self.tracking.rivals.won();
            }
            (true, None) => self.tracking.rivals.beaten(Instant::now()),
        }
    }

    /// Starts to wait for every list that was empty.
    pub(crate) fn start_waits(&mut self) {
        if self.waits.is_empty() && self.tracking.connection.is_none() {
            self.connection_number = self.shared.connection.number();
        }
        if self.shared.has_tracking.load(Ordering::Relaxed) {
            return self.track();
        }
        let is_waited_for = |state| matches!(state, ListState::Empty | ListState::Tracked | ListState::Changed);
        let all = self.entries.iter().filter(|(_, entry)| is_waited_for(entry.state));
        let all: Vec<usize> = all.map(|(list_number, _)| *list_number).collect();
        self.tracking.connection = None;
        for list_number in all {
            let connection = self.idle_connections.pop();
            self.block_on(list_number, connection);
        }
    }

    /// Blocks on one list, and looks at those that are neither tracked nor blocked on. A look must come first, since
    /// both use one connection.
    fn track(&mut self) {
        if !self.waits.is_empty() {
            return;
        }
        if !self.entries.contains_key(&self.blocks_on) {
            self.blocks_on = self.entries.keys().min().copied().unwrap_or(0);
        }
        let now = Instant::now();
        let blocks_on = self.tracking.unsettled_until.is_none().then_some(self.blocks_on);
        let is_due = self.tracking.connection.as_ref().is_some_and(|open| now - open.looked_at >= LOOK_INTERVAL);
        let is_unseen = |(list_number, entry): &(&usize, &Entry)| match entry.state {
            ListState::Empty => Some(**list_number) != blocks_on,
            ListState::Tracked => is_due,
            _ => false,
        };
        let unseen: Vec<usize> = self.entries.iter().filter(is_unseen).map(|(list_number, _)| *list_number).collect();
        if unseen.is_empty() {
            let state = blocks_on.and_then(|blocks_on| self.entries.get(&blocks_on)).map(|entry| entry.state);
            if matches!(state, Some(ListState::Empty | ListState::Tracked | ListState::Changed)) {
                let tracked = self.tracking.connection.as_ref().map(|open| open.blocking.clone());
                let connection = tracked.or_else(|| self.idle_connections.pop());
                self.block_on(self.blocks_on, connection);
            }
            return;
        }
        let mut keys = Vec::with_capacity(unseen.len());
        for list_number in &unseen {
            if let Some(entry) = self.entries.get_mut(list_number) {
                entry.set_state(ListState::Looking);
                keys.push(entry.queue_list.key.clone());
            }
        }
        let mut connection = self.tracking.connection.take();
        if let Some(open) = connection.as_mut().filter(|_| is_due) {
            open.looked_at = now;
        }
        let counts = self.tracking.rivals.is_count_due(now);
        let look = look(self.shared.clone(), (unseen, keys), connection, self.tracking.changes.clone(), counts);
        self.waits.push(Box::pin(async move { WaitEvent::Look(look.await) }));
    }

    /// Whether a wait must end before the other lists can be looked at, or before another list is blocked on.
    pub(crate) fn must_cancel(&self) -> bool {
        self.shared.has_tracking.load(Ordering::Relaxed)
            && !self.wait_handles.is_empty()
            && self.entries.values().any(|entry| entry.state == ListState::Empty)
    }

    fn block_on(&mut self, list_number: usize, connection: Option<BlockingConnection>) {
        let Some(entry) = self.entries.get_mut(&list_number) else { return };
        entry.set_state(ListState::Waiting);
        let lists = (entry.queue_list.key.clone(), entry.handoff.clone());
        let handle = Arc::new(WaitHandle::default());
        self.wait_handles.insert(list_number, (handle.clone(), self.round));
        let wait = wait(self.shared.clone(), list_number, lists, connection, handle);
        self.waits.push(Box::pin(async move { WaitEvent::Wait(wait.await) }));
    }

    /// Takes note of what the server has said of changes, and acts when it is time.
    pub(crate) fn note_changes(&mut self) {
        let (entries, tracking) = (&mut self.entries, &mut self.tracking);
        let mut has_new = false;
        tracking.changes.read(|unread| {
            for entry in entries.values_mut().filter(|entry| entry.state == ListState::Tracked) {
                if unread.take(&entry.queue_list.key) {
                    entry.set_state(ListState::Changed);
                    has_new = true;
                }
            }
            // What was said of a list while a look at it was under way may be newer than what the look saw.
            entries.values().any(|entry| entry.state == ListState::Looking)
        });
        let now = Instant::now();
        tracking.unsettled_until = tracking.unsettled_until.filter(|until| *until > now);
        if has_new {
            let act_at = now + tracking.rivals.wait(now, &mut fastrand::Rng::new());
            tracking.act_at = Some(tracking.act_at.map_or(act_at, |other| other.min(act_at)));
            if act_at == now {
                return self.act_on_changes(ListState::Ready);
            }
        }
        if self.tracking.act_at.is_some_and(|at| at <= now) {
            self.act_on_changes(ListState::Empty);
        }
    }

    /// Acts on the changes: a claim for those who act at once, a look for all others.
    fn act_on_changes(&mut self, state: ListState) {
        self.tracking.act_at = None;
        let mut last = None;
        for (list_number, entry) in &mut self.entries {
            if entry.state == ListState::Changed {
                entry.set_state(state);
                last = Some(*list_number);
            }
        }
        if let Some(last) = last {
            self.tracking.acted = true;
            self.had_message(last);
        }
    }

    /// A list had a message, for this consumer or another one.
    fn had_message(&mut self, list_number: usize) {
        self.tracking.unsettled_until = (list_number != self.blocks_on).then(|| Instant::now() + UNSETTLED);
        self.blocks_on = list_number;
    }

    /// Takes note of the end of a wait or a look, and of all others that have ended by now. `at_once` says whether a
    /// message was in the list before the wait began, so that there may be more.
    pub(crate) fn wait_ended(&mut self, first: WaitEvent, at_once: impl Fn(Duration) -> bool) -> WaitsEnded {
        let mut ended = WaitsEnded::default();
        let mut next = Some(first);
        while let Some(one) = next {
            match one {
                WaitEvent::Wait(wait_end) => self.one_wait_ended(wait_end, &at_once, &mut ended),
                WaitEvent::Look(look_end) => self.look_ended(look_end, &mut ended),
            }
            next = self.waits.next().now_or_never().flatten();
        }
        ended
    }

    fn one_wait_ended(&mut self, wait_end: WaitEnd, at_once: &impl Fn(Duration) -> bool, ended: &mut WaitsEnded) {
        let WaitEnd { list_number, lasted, connection, result } = wait_end;
        let round = self.wait_handles.remove(&list_number).map_or(self.round, |(_, round)| round);
        if self.tracking.connection.is_none() {
            self.idle_connections.extend(connection);
        }
        self.round_worked |= round == self.round && result.is_ok() && !lasted.is_zero();
        let state = match result {
            Ok(WaitResult::Moved { after }) => ListState::Moved { more: at_once(after) },
            Ok(WaitResult::Nothing) => ListState::Empty,
            Ok(WaitResult::Closed) => {
                ended.closed = true;
                ListState::Empty
            }
            Err(error) => {
                ended.broke = true;
                self.broke(error, round, lasted, ended);
                // It may have moved a message before it broke.
                ListState::Moved { more: true }
            }
        };
        if let Some(entry) = self.entries.get_mut(&list_number) {
            entry.set_state(state);
        }
    }

    fn look_ended(&mut self, look_end: LookEnd, ended: &mut WaitsEnded) {
        let LookEnd { list_numbers, lasted, connection, is_new, consumers, result } = look_end;
        self.round_worked |= result.is_ok() && !lasted.is_zero();
        if is_new {
            self.forget_tracked();
        }
        self.tracking.connection = connection;
        if let Some(consumers) = consumers {
            self.tracking.rivals.count(consumers, Instant::now());
        }
        let state = match result {
            Ok(Found::Nothing) => {
                if std::mem::take(&mut self.tracking.acted) {
                    self.tracking.rivals.beaten(Instant::now());
                }
                ListState::Tracked
            }
            Ok(Found::Messages) => ListState::Ready,
            Ok(Found::NoTracking(reason)) => {
                self.shared.do_without_tracking(&reason);
                ListState::Empty
            }
            Err(error) => {
                self.broke(error, self.round, lasted, ended);
                ListState::Ready
            }
        };
        for list_number in list_numbers {
            if let Some(entry) = self.entries.get_mut(&list_number) {
                entry.set_state(state);
            }
        }
        self.note_changes();
    }

    /// A wait or a look of `round` broke.
    fn broke(&mut self, error: Error, round: u64, lasted: Duration, ended: &mut WaitsEnded) {
        let of_this_round = round == self.round;
        // A claim follows, and it reports a server that is away. Where waits alone fail again and again, as when the
        // server takes no more connections, the error is reported, so that the caller pauses.
        let is_expected = error.is_retryable() && (!of_this_round || self.round_worked || lasted >= WORKED);
        if !is_expected && ended.error.is_none() {
            ended.error = Some(error);
        }
        if of_this_round {
            self.round += 1;
            self.round_worked = false;
        }
        self.tracking.connection = None;
        self.forget_tracked();
    }

    /// The connection is gone on which lists were tracked: there may be messages in them.
    fn forget_tracked(&mut self) {
        self.tracking.act_at = None;
        for entry in self.entries.values_mut() {
            if matches!(entry.state, ListState::Tracked | ListState::Changed) {
                entry.set_state(ListState::Ready);
            }
        }
    }

    /// Drops all waits if the connection for commands was replaced since they began: then those that have not ended
    /// wait on connections that are dead, or at a server that is not the master any more. Whether it dropped any.
    pub(crate) fn drop_outdated_waits(&mut self) -> bool {
        let number = self.shared.connection.number();
        if number == self.connection_number || (self.waits.is_empty() && self.tracking.connection.is_none()) {
            return false;
        }
        self.connection_number = number;
        self.waits.clear();
        self.wait_handles.clear();
        self.idle_connections.clear();
        self.tracking.connection = None;
        self.round += 1;
        self.forget_tracked();
        for entry in self.entries.values_mut() {
            match entry.state {
                ListState::Waiting => entry.set_state(ListState::Moved { more: true }),
                ListState::Looking => entry.set_state(ListState::Ready),
                _ => {}
            }
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
                entry.set_state(ListState::Ready);
            }
        }
        Ok(())
    }

    /// Returns the messages of every handoff list, also those of which the consumer does not know.
    pub(crate) async fn return_all(&mut self) -> Result<()> {
        let all: Vec<usize> = self.entries.keys().copied().collect();
        self.return_of(&all).await?;
        for entry in self.entries.values_mut() {
            // The server says of a tracked list if something returns to it.
            if !matches!(entry.state, ListState::Tracked | ListState::Changed) {
                entry.set_state(ListState::Ready);
            }
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
