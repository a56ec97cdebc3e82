//! The thread that serves the connections of this process. Heartbeats are answered here, so tasks that keep the
//! program's own threads busy never cost a connection, and connections do not end with the runtime that opened them.

use std::sync::OnceLock;

use apium_transport::error::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime of the connections.
pub(crate) fn handle() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| Builder::new_multi_thread().worker_threads(1).thread_name("apium-amqp").enable_all().build());
    match runtime {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => {
            let cause = std::io::Error::new(error.kind(), error.to_string());
            Err(Error::new(ErrorKind::Other, "start the thread of the connections to RabbitMQ").with_source(cause))
        }
    }
}
