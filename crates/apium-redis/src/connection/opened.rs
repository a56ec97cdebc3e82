//! The open connections for commands of a driver. A broker and the result backends in one store share one, so that a
//! caller has two connections: this one, and one for notifications.

use std::sync::{Mutex, PoisonError};

use apium_transport::clock::Clock;

use crate::connection::commands::{CommandConnection, WeakConnection};
use crate::options::target::Target;

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct OpenedConnections(Mutex<Vec<WeakConnection>>);

impl OpenedConnections {
    /// The connection to `target`: an open one, or a new one.
    pub(crate) fn open(&self, target: Target, clock: Clock) -> CommandConnection {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(WeakConnection::is_used);
        if let Some(connection) = all.iter().find_map(|connection| connection.open(&target, &clock)) {
            return connection;
        }
        let connection = CommandConnection::new(target, clock);
        all.push(connection.downgrade());
        connection
    }
}
