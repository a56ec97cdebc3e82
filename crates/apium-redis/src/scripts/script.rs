//! The scripts that run inside the server, each an atomic step. Their texts stand in `scripts/`.

use std::sync::LazyLock;

/// What several scripts begin with: the writing of results.
macro_rules! record {
    () => {
        include_str!("lua/record.lua")
    };
}

/// The same: the counting of parts.
macro_rules! chord {
    () => {
        include_str!("lua/chord.lua")
    };
}

/// The end of deliveries.
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

/// Takes messages and notes that they are out.
pub(crate) static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/claim.lua")));

/// Ends deliveries: results, follow-ups, and what becomes of the messages.
pub(crate) static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(record!(), settle!())));

/// The same where there are operations of chords among them. What few need is not made in every call.
pub(crate) static SETTLE_CHORDS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(record!(), chord!(), settle!())));

/// Returns what was parked and is due.
pub(crate) static PROMOTE_DUE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/due.lua")));

/// Returns what waits of a consumer have moved to where it was.
pub(crate) static RETURN_HANDOFFS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/put_back.lua")));

/// Puts dead messages back on their lists.
pub(crate) static REPLAY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/replay.lua")));

/// Stores a message of a fanout exchange once for each queue.
pub(crate) static STORE_FANOUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/heard.lua")));

/// Shows life, also when memory is full.
pub(crate) static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/show_life.lua")));

/// Writes results.
pub(crate) static STORE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(record!(), include_str!("lua/store.lua"))));

/// Begins to count the parts of a chord.
pub(crate) static CHORD_OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_open.lua"))));

/// Counts a part of a chord.
pub(crate) static CHORD_PART: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_part.lua"))));

/// Ends a chord.
pub(crate) static CHORD_END: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(chord!(), include_str!("lua/chord_end.lua"))));
