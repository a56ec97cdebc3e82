//! The operations of the script that ends deliveries, `lua/settle.lua`, and how they become its arguments.

use apium_transport::backend::chord::ChordEnd;
use redis::Cmd;

use crate::keys::broker_keys::Keys;
use crate::keys::score::score;
use crate::scripts::chord_args::{Claim, OpenArgs, PartArgs, append_end};
use crate::scripts::result_args::RecordArgs;

/// How many deliveries one call of a script handles at most: the server does nothing else meanwhile.
pub(crate) const MAX_DELIVERIES: usize = 500;

/// Where one copy of a published message goes.
#[derive(Debug)]
pub(crate) enum PublishTarget {
    /// To the end of a list.
    List { list: String, envelope: Vec<u8> },
    /// To the end of this list, once it is due; until then it is delayed.
    Delayed { list: String, due: i64, envelope: Vec<u8> },
    /// To those who are subscribed to the channel now.
    Channel { channel: String, envelope: Vec<u8> },
}

/// One operation of the script.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    /// The operations after it belong to the delivery with this position among the tags, counted from 1; 0 is none.
    ForDelivery(usize),
    /// Writes a result.
    Record(&'a RecordArgs),
    /// Publishes a message.
    Publish(&'a PublishTarget),
    /// Puts an envelope at the front of a list.
    PushFront(&'a str, Vec<u8>),
    /// Puts an envelope at the end of a list.
    PushBack(&'a str, Vec<u8>),
    /// Delays an envelope of a list until its due score.
    Delay(&'a str, i64, Vec<u8>),
    /// Adds a document to the dead set.
    AddDeadLetter(String),
    /// Forgets the crashes that were counted for a delivery tag.
    ForgetCrashes(&'a str),
    /// Begins to count a chord.
    OpenChord(&'a OpenArgs),
    /// Skips the operations after it, up to the next delivery, if their parts may complete a chord.
    SkipIfLast {
        /// The number by which the reply names it.
        number: usize,
        /// Whether chords are ordered.
        ordered: bool,
        /// The keys of the chords of its parts.
        keys: Vec<&'a str>,
    },
    /// If the part after it is the last one of its chord, this message is put in flight: the entry in `unacked`, under
    /// the tag.
    Recount { tag: &'a str, entry: &'a [u8] },
    /// Counts a part of a chord. The number names it in the reply if it is the last one.
    Part(usize, &'a PartArgs),
    /// Skips the operations after it, up to the next of these, unless this claim is held. `None` ends the condition.
    RequireClaim(Option<&'a Claim>),
    /// Ends a chord.
    EndChord(&'a Claim, ChordEnd),
    /// Counts a run that killed its worker: the message goes to the front of its list.
    Crashed { tag: &'a str, list: &'a str, envelope: &'a [u8] },
}

/// Adds the script's keys and arguments to a call. `now` is the server's time in milliseconds; `count` is the number of
/// `tags`.
pub(crate) fn write<'a>(
    keys: &Keys,
    now: i64,
    command: &mut Cmd,
    (tags, count): (impl Iterator<Item = &'a str>, usize),
    operations: &[Operation<'_>],
) {
    command.arg(8).arg(keys.unacked()).arg(keys.unacked_index()).arg(keys.crashes());
    command.arg(keys.dead()).arg(keys.dead_last()).arg(keys.dead_order()).arg(keys.eta());
    command.arg(keys.leases());
    command.arg(keys.eta_prefix()).arg(keys.eta_channel()).arg(score(now, false));
    command.arg(count);
    for tag in tags {
        command.arg(tag);
    }
    if needs_check(operations) {
        command.arg("v");
    }
    for operation in operations {
        operation.append(command);
    }
}

/// Whether the types of all keys have to be right before anything is written. A single write needs no check: if it
/// fails, nothing was done before it. Neither do results alone: to write one again changes nothing.
fn needs_check(operations: &[Operation<'_>]) -> bool {
    let mut writes = operations.iter().filter(|operation| !matches!(operation, Operation::ForDelivery(_)));
    match writes.next() {
        None => false,
        Some(Operation::Record(_)) => !writes.all(|operation| matches!(operation, Operation::Record(_))),
        Some(first) => !first.is_single_write() || writes.next().is_some(),
    }
}

impl Operation<'_> {
    fn is_single_write(&self) -> bool {
        use Operation::{ForgetCrashes, Publish, PushBack, PushFront};
        let to_one_key = |target: &PublishTarget| !matches!(target, PublishTarget::Delayed { .. });
        match self {
            Publish(target) => to_one_key(target),
            other => matches!(other, PushFront(..) | PushBack(..) | ForgetCrashes(_)),
        }
    }

    /// Adds it to the arguments of the script, whose head comment explains them.
    fn append(&self, command: &mut Cmd) {
        let mut add = |name: &str, list: &str, envelope: &[u8]| {
            command.arg(name).arg(list).arg(envelope);
        };
        match self {
            Operation::Publish(PublishTarget::List { list, envelope }) => add("p", list, envelope),
            Operation::Publish(PublishTarget::Channel { channel, envelope }) => add("f", channel, envelope),
            Operation::PushFront(list, envelope) => add("b", list, envelope),
            Operation::PushBack(list, envelope) => add("p", list, envelope),
            Operation::Publish(PublishTarget::Delayed { list, due, envelope }) => {
                command.arg("e").arg(list).arg(*due).arg(envelope.as_slice());
            }
            Operation::Delay(list, due, envelope) => {
                command.arg("e").arg(*list).arg(*due).arg(envelope.as_slice());
            }
            Operation::ForDelivery(position) => {
                command.arg("i").arg(*position);
            }
            Operation::Record(record) => {
                command.arg("r");
                record.append_to(command);
            }
            Operation::AddDeadLetter(document) => {
                command.arg("d").arg(document.as_str());
            }
            Operation::ForgetCrashes(tag) => {
                command.arg("c").arg(*tag);
            }
            Operation::OpenChord(chord) => {
                command.arg("o");
                chord.append_to(command);
            }
            Operation::SkipIfLast { number, ordered, keys } => {
                command.arg("w").arg(*number).arg(u8::from(*ordered)).arg(keys.len()).arg(keys);
            }
            Operation::Recount { tag, entry } => {
                command.arg("g").arg(*tag).arg(*entry);
            }
            Operation::Part(number, part) => {
                command.arg("t").arg(*number);
                part.append_to(command);
            }
            Operation::RequireClaim(Some(claim)) => {
                command.arg("h");
                claim.append_to(command);
            }
            Operation::RequireClaim(None) => {
                command.arg("u");
            }
            Operation::EndChord(claim, end) => {
                command.arg("x");
                append_end(&claim.key, &claim.claimant, *end, command);
            }
            Operation::Crashed { tag, list, envelope } => {
                command.arg("k").arg(*tag).arg(*list).arg(*envelope);
            }
        }
    }
}
