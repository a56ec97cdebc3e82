//! Workflows on every driver: FEATURES 3, where a worker is needed to show it. Each test carries the numbers of its rows.

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
