//! Waiting for a message: a blocking move of one list into a list of the consumer's own, which wakes one consumer for each message
//! and leaves the message in the server all the time.
//!
//! A blocking move waits for one list only, so each list (a queue has one for each priority step) has a connection of its own
//! while the consumer waits. `consumer` claims what was moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use apium_transport::error::{Error, Result};
use redis::Value;

use crate::connection::connect::{Connection, connect, timed_out};
use crate::crash_points::reached;
use crate::errors::{from_redis, wrong_key_type};
use crate::options::target::ServerAddress;
use crate::shared::BrokerShared;

/// How long one wait lasts before it is begun again. A server that is gone without a word is noticed soon after.
const LONGEST: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(2);

/// A connection for waits.
#[derive(Debug, Clone)]
pub(crate) struct BlockingConnection {
    connection: Connection,
    id: i64,
}

/// A wait from outside: what is needed to call it off.
#[derive(Debug, Default)]
pub(crate) struct WaitHandle {
    /// The connection's id once it blocks, or is about to.
    id: AtomicI64,
    cancelled: AtomicBool,
}

impl WaitHandle {
    /// Asks for the end; answers the connection to be woken, if it waits already.
    pub(crate) fn cancel(&self) -> Option<i64> {
        self.cancelled.store(true, Ordering::SeqCst);
        Some(self.id.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) struct WaitEnd {
    /// The place of its list.
    pub(crate) list_number: usize,
    pub(crate) connection: Option<BlockingConnection>,
    pub(crate) result: Result<WaitResult>,
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitResult {
    /// A message was moved, this long after the wait was begun.
    Moved { after: Duration },
    /// The time was up, or it was called off.
    Nothing,
}

/// Waits until a message of `list` was moved to `taken`.
pub(crate) async fn wait(
    core: Arc<BrokerShared>,
    place: usize,
    (list, taken): (String, String),
    line: Option<BlockingConnection>,
    control: Arc<WaitHandle>,
) -> WaitEnd {
    let wanted = core.connection.server();
    // A wait is where the commands go, or what it moves is not found.
    let line = line.filter(|line| wanted.as_ref().is_none_or(|wanted| *wanted == line.connection.server));
    let mut line = match line {
        Some(line) => line,
        None => match open(&core, wanted.as_ref()).await {
            Ok(line) => line,
            Err(error) => return WaitEnd { list_number: place, connection: None, result: Err(error) },
        },
    };
    control.id.store(line.id, Ordering::SeqCst);
    if control.cancelled.load(Ordering::SeqCst) {
        return WaitEnd { list_number: place, connection: Some(line), result: Ok(WaitResult::Nothing) };
    }
    let mut command = redis::cmd("BLMOVE");
    command.arg(&list).arg(taken).arg("RIGHT").arg("LEFT").arg(LONGEST.as_secs());
    reached("before-wait");
    let began = tokio::time::Instant::now();
    let moving = line.connection.raw.send_packed_command(&command);
    let answer = tokio::time::timeout(LONGEST + GRACE, moving).await;
    let outcome = match answer {
        Ok(Ok(Value::Nil)) => Ok(WaitResult::Nothing),
        Ok(Ok(Value::ServerError(error))) => Err(failed(&line, &list, error.into())),
        Ok(Ok(_)) => {
            reached("after-wait");
            Ok(WaitResult::Moved { after: began.elapsed() })
        }
        Ok(Err(error)) => Err(failed(&line, &list, error)),
        Err(_) => Err(timed_out(WHAT, &line.connection.server, LONGEST + GRACE)),
    };
    // A connection that failed is not used again.
    let line = outcome.is_ok().then_some(line);
    WaitEnd { list_number: place, connection: line, result: outcome }
}

const WHAT: &str = "wait for messages";

fn failed(line: &BlockingConnection, list: &str, error: redis::RedisError) -> Error {
    match wrong_key_type(&error) {
        Some(_) => from_redis(&format!("{WHAT}, with the key {list:?},"), &line.connection.server, error),
        None => from_redis(WHAT, &line.connection.server, error),
    }
}

async fn open(core: &BrokerShared, wanted: Option<&ServerAddress>) -> Result<BlockingConnection> {
    let target = core.connection.target();
    let mut connection = connect(target, wanted).await?.connection;
    let mut command = redis::cmd("CLIENT");
    command.arg("ID");
    let asking = connection.raw.send_packed_command(&command);
    let answer = tokio::time::timeout(target.connect_timeout, asking).await;
    match answer {
        Ok(Ok(Value::Int(id))) => Ok(BlockingConnection { connection, id }),
        Ok(Ok(Value::ServerError(error))) => Err(from_redis(WHAT, &connection.server, error.into())),
        Ok(Ok(_)) => Err(crate::errors::unexpected_reply(WHAT)),
        Ok(Err(error)) => Err(from_redis(WHAT, &connection.server, error)),
        Err(_) => Err(timed_out(WHAT, &connection.server, target.connect_timeout)),
    }
}
