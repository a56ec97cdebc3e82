//! What keeps results: the result backend with its watches and groups, and chords.

pub mod backend;
pub mod chord;
pub mod chord_results;
pub mod watch_state;
pub mod watch_stream;
pub mod watch_table;
