//! Workflows on every driver, where a worker is needed to show the behaviour.

mod chains;
mod chords;
mod eager;
mod flows;
mod groups;
mod inside;
mod links;
mod maps;
mod replacing;
mod saved;
mod stamps;
mod stores;
mod tasks;
