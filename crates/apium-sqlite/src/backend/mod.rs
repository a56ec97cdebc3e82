//! Results come in and go out: reading, writing, watching them, and counting the parts of chords.

pub mod backend;
pub(crate) mod chord;
pub(crate) mod chord_store;
pub(crate) mod results;
pub(crate) mod watch_stream;
pub(crate) mod watch_table;
