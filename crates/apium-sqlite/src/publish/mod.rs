//! A message goes in: its queues, its rows, its rank, broadcasts, and how it moves to the dead set.

pub(crate) mod broadcast;
pub(crate) mod dead_letter;
pub(crate) mod message_row;
pub(crate) mod publish;
pub(crate) mod rank;
