//! Publishing: what a message is on the wire, what is declared for it, and the confirms of the server.

pub(crate) mod declare;
pub(crate) mod declared;
pub(crate) mod delayed;
pub(crate) mod mailbox_names;
pub(crate) mod properties;
pub(crate) mod publish;
pub(crate) mod publisher;
pub(crate) mod table;
