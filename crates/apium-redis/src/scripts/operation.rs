//! The operations of the settling script, and how they are written.

use apium_transport::backend::chord::ChordEnd;
use redis::Cmd;

use crate::keys::score::score;
use crate::scripts::chord_args::{Claim, OpenArgs, PartArgs, append_end};
use crate::scripts::result_args::RecordArgs;
use crate::scripts::route::PublishTarget;
use crate::settle::recount_message::RecountMessage;
use crate::shared::BrokerShared;

/// One operation of the script.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    /// What follows belongs to the delivery of this place, counted from 1; 0 to none.
    ForDelivery(usize),
    Record(&'a RecordArgs),
    Publish(&'a PublishTarget),
    PushFront(&'a str, Vec<u8>),
    PushBack(&'a str, Vec<u8>),
    Delay(&'a str, i64, Vec<u8>),
    AddDeadLetter(String),
    ForgetCrashes(&'a str),
    /// A chord begins.
    OpenChord(&'a OpenArgs),
    /// What follows, up to the next delivery, is left out when it may complete a chord: the number by which the script names it, whether
    /// chords are ordered, the keys of the chords of its parts.
    SkipIfLast(usize, bool, Vec<&'a str>),
    /// Should the part behind it be the last one, this is noted.
    Recount(&'a RecountMessage),
    /// A part of a chord, and the number by which the script names it, should it be the last one.
    Part(usize, &'a PartArgs),
    /// What follows is left out, up to the next of these, unless this claim is held; with none it is not.
    RequireClaim(Option<&'a Claim>),
    EndChord(&'a Claim, ChordEnd),
    /// A run of it killed its worker: to the front of its list, or, the limit reached, into the dead set.
    Crashed {
        tag: &'a str,
        limit: u32,
        list: &'a str,
        envelope: &'a [u8],
        document: String,
    },
}

/// Writes the script's keys and arguments.
pub(crate) fn write<'a>(
    core: &BrokerShared,
    command: &mut Cmd,
    tags: impl Iterator<Item = &'a str>,
    count: usize,
    operations: &[Operation<'_>],
) {
    let keys = &core.keys;
    command.arg(7).arg(keys.unacked()).arg(keys.unacked_index()).arg(keys.crashes());
    command.arg(keys.dead()).arg(keys.dead_last()).arg(keys.dead_order()).arg(keys.eta());
    command.arg(keys.eta_prefix()).arg(keys.eta_channel()).arg(score(core.connection.server_now(), false));
    command.arg(count);
    for tag in tags {
        command.arg(tag);
    }
    for operation in operations {
        operation.append(command);
    }
}

impl Operation<'_> {
    /// Adds it to the script's arguments.
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
            Operation::ForDelivery(place) => {
                command.arg("i").arg(*place);
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
            Operation::SkipIfLast(number, ordered, keys) => {
                command.arg("w").arg(*number).arg(u8::from(*ordered)).arg(keys.len()).arg(keys);
            }
            Operation::Recount(note) => {
                command.arg("g").arg(&note.tag).arg(note.entry.as_slice());
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
            Operation::Crashed { tag, limit, list, envelope, document } => {
                command.arg("k").arg(*tag).arg(*limit).arg(*list).arg(*envelope).arg(document.as_str());
            }
        }
    }
}
