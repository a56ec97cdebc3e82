//! The live view of workers, tasks and queues: a pure model that keys, events and answers change, and a view of it.

mod actions;
mod collect;
mod input;
mod model;
mod rates;
mod rows;
pub(crate) mod run;
mod terminal;
#[cfg(test)]
mod tests;
mod view;
