//! A message goes in: routes, bindings, and what is delayed.

pub(crate) mod bindings;
pub(crate) mod delayed;
pub(crate) mod fanout;
pub(crate) mod publish;
