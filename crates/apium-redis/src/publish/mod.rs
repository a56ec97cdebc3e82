//! A message goes in: targets, bindings, fanout exchanges, and delayed messages.

pub(crate) mod bindings;
pub(crate) mod broadcast;
pub(crate) mod declared;
pub(crate) mod delayed;
pub(crate) mod fanout;
pub(crate) mod publish;
pub(crate) mod replies;
pub(crate) mod reply_lists;
