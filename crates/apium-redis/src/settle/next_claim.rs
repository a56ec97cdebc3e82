//! The claim of what comes next, in the step that settles deliveries: a settlement makes room, and what a free slot
//! waits for costs no round trip of its own.
//!
//! It takes what a claim right after the settlement would take, from the same lists in the same order. A list that is
//! waited for or tracked need not be read, unless the settlement publishes to it; then what the wait has moved comes
//! first. Messages that the settlement itself publishes are among them. With such messages it takes no more than begin
//! at once, since other workers may be waiting for the rest.

use std::sync::Arc;

use apium_protocol::error::with_causes;
use redis::{Cmd, Value};

use crate::consumer::claim::{ClaimArgs, ClaimRequest, NextLimits, NextList, Reserved, now_micros};
use crate::consumer::state::ConsumerState;
use crate::crash_points::reached;
use crate::keys::broker_keys::Keys;
use crate::scripts::operation::{Operation, PublishTarget};
use crate::settle::prepared::requeue;
use crate::shared::BrokerShared;

/// After so many bytes no more messages are taken: the reply to a settlement must not take long.
const ROOM: usize = 1 << 20;

/// A claim that goes with a settlement. When it is dropped without a reply, the server may have done it, and the
/// maintenance loop looks for its messages.
#[derive(Debug)]
pub(crate) struct NextClaim<'a> {
    state: &'a ConsumerState,
    /// The consumer's id, the number of its first message, and how many there may be.
    numbers: (Arc<str>, u64, usize),
    /// `None` once the server has answered.
    args: Option<ClaimArgs>,
}

/// How much a settlement with these operations may claim; `None` is nothing.
pub(crate) fn limits<'a>(
    shared: &BrokerShared,
    state: &ConsumerState,
    operations: &'a [Operation<'_>],
) -> Option<(NextLimits<'a>, u64)> {
    let wanted = state.wanted();
    // Where no slot is free nothing waits for it: a claim of its own goes on beside the settlement. While the server is
    // away nothing is asked of it that would have to be looked for afterwards.
    if wanted.begin == 0 || shared.connection.connected_for().is_none() {
        return None;
    }
    let mut published: Vec<&str> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Publish(PublishTarget::List { list, .. }) => published.push(list),
            Operation::PushBack(list, _) => published.push(list),
            // What this worker does not want is for others.
            Operation::PushFront(..) => return None,
            _ => {}
        }
    }
    let most = if published.is_empty() { wanted.fetch } else { wanted.begin.min(wanted.fetch) };
    (most > 0).then(|| (NextLimits { published, wanted: most, marked: wanted.marked }, now_micros(shared)))
}

impl<'a> NextClaim<'a> {
    /// A claim for which this was reserved.
    pub(crate) fn new(keys: &Keys, state: &'a ConsumerState, (reserved, lists): (Reserved, Vec<NextList>)) -> Self {
        let Reserved { first, id, wanted, begin } = reserved;
        let numbers = (id.clone(), first, wanted);
        let lists = lists.iter().map(|list| ClaimRequest::of_next(keys, &id, list)).collect();
        reached("before-next-claim");
        Self { state, numbers, args: Some(ClaimArgs { first, id, wanted, begin, lists }) }
    }

    /// Adds it to the arguments of the script.
    pub(crate) fn append(&self, now: i64, command: &mut Cmd) {
        if let Some(args) = &self.args {
            command.arg("n");
            args.append(now, Some(ROOM), command);
        }
    }

    /// The server has refused all of the script.
    pub(crate) fn refused(mut self) {
        self.args = None;
    }

    /// Takes what the script answered; `None` where it did not claim, because there is a second call to come.
    pub(crate) async fn answered(mut self, shared: &BrokerShared, answer: Option<Vec<Value>>) {
        let Some(answer) = answer else { return self.refused() };
        let Some(args) = self.args.take() else { return };
        let claimed = match args.read(shared, answer).await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(error = %with_causes(&error), "could not read what was claimed with a settlement");
                return self.look_for_it();
            }
        };
        if claimed.gone {
            self.state.suspected.notify_one();
            return;
        }
        let has_any = !claimed.messages.is_empty();
        if has_any {
            reached("settled-claimed");
        }
        if let Err((id, deliveries)) = claimed.add_to(self.state)
            && let Err(error) = requeue(shared, &id, deliveries).await
        {
            tracing::debug!(error = %with_causes(&error), "could not requeue what was claimed with a settlement");
            return self.look_for_it();
        }
        if has_any {
            reached("next-claim-added");
        }
    }

    /// Lets the maintenance loop look for the messages, and requeue them.
    fn look_for_it(&self) {
        let (id, first, count) = self.numbers.clone();
        self.state.lost_replies().add_claim(id, first, count, self.state.lost_reply_window());
        self.state.suspected.notify_one();
    }
}

impl Drop for NextClaim<'_> {
    fn drop(&mut self) {
        if self.args.is_some() {
            self.look_for_it();
        }
        self.state.end_next_claim(self.numbers.2);
    }
}
