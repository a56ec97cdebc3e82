//! Results, chords and watches.

pub mod backend;
pub(crate) mod chord;
pub(crate) mod document;
pub(crate) mod result_store;
pub(crate) mod results;
pub(crate) mod watch_stream;
pub(crate) mod watcher;
