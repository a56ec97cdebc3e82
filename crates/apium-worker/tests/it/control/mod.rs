//! Remote control, through the real seam: a request is broadcast, and the reply is read from a mailbox.

mod bad_requests;
mod caller;
mod limits;
mod own_commands;
mod pool;
mod queues;
mod revokes;
mod scheduled;
mod terminate;
mod vectors;
