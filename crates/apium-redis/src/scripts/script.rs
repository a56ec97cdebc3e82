//! The scripts that run inside the server, each an atomic step. Their texts are in `lua/`, and the server knows each by
//! the hash of its text.

use std::sync::LazyLock;

/// The writing of results, with which several scripts begin.
macro_rules! record {
    () => {
        include_str!("lua/record.lua")
    };
}

/// The counting of parts, with which several scripts begin.
macro_rules! chord {
    () => {
        include_str!("lua/chord.lua")
    };
}

/// The claiming of messages.
macro_rules! claim {
    () => {
        include_str!("lua/claim.lua")
    };
}

/// The settling of deliveries.
macro_rules! settle {
    () => {
        include_str!("lua/settle.lua")
    };
}

/// A script with its hash.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The hash by which the server knows it.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Its text.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

/// Claims messages and puts them in flight.
pub(crate) static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(claim!(), include_str!("lua/claim_alone.lua"))));

/// Settles deliveries: results, follow-ups, and what becomes of the messages. It also publishes what a list alone
/// cannot take.
pub(crate) static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(record!(), claim!(), settle!())));

/// Settles like [`SETTLE`], with operations for chords. It is a script of its own, since few calls need them.
pub(crate) static SETTLE_CHORDS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(record!(), claim!(), chord!(), settle!())));

/// Promotes delayed messages that are due.
pub(crate) static PROMOTE_DUE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/promote.lua")));

/// Returns messages from handoff lists to the lists that they came from, and closes the handoff lists of a dead
/// consumer.
pub(crate) static RETURN_HANDOFFS: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/return_handoffs.lua")));

/// Puts dead messages back on their lists.
pub(crate) static REPLAY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/replay.lua")));

/// Stores a message of a fanout channel in a queue, once.
pub(crate) static STORE_FANOUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/store_fanout.lua")));

/// Opens a mailbox for replies, and removes those whose owners are gone.
pub(crate) static OPEN_REPLIES: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/open_replies.lua")));

/// Puts replies on the lists of their mailboxes.
pub(crate) static REPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/reply.lua")));

/// Writes records that all workers share.
pub(crate) static FLEET_PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/fleet_put.lua")));

/// Removes records that all workers share.
pub(crate) static FLEET_REMOVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/fleet_remove.lua")));

/// Reads records that all workers share.
pub(crate) static FLEET_LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/fleet_list.lua")));

/// Sends a heartbeat although the server's memory is full.
pub(crate) static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/heartbeat.lua")));

/// Stores results.
pub(crate) static STORE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(record!(), include_str!("lua/store.lua"))));

/// Opens a chord.
pub(crate) static CHORD_OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_open.lua"))));

/// Counts a part of a chord.
pub(crate) static CHORD_PART: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_part.lua"))));

/// Adds a part to a chord.
pub(crate) static CHORD_GROW: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_grow.lua"))));

/// Ends a chord.
pub(crate) static CHORD_END: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_end.lua"))));
