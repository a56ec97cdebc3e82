//! Waiting for a message: a blocking move (BLMOVE) from a queue's list to a handoff list of the consumer. One message
//! wakes one consumer, and the message is in the server all the time. The consumer claims it from the handoff list.
//!
//! A blocking move waits for one list, and a queue has one for each priority step. The other lists are tracked; at a
//! server that does not do that, the consumer waits on one connection for each list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use apium_transport::error::Result;
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use crate::connection::connect::{Connection, connect, timed_out};
use crate::crash_points::reached;
use crate::errors::{from_redis, unexpected_reply, wrong_key_type};
use crate::options::target::ServerAddress;
use crate::shared::BrokerShared;

/// How long one wait lasts at most; then the consumer starts another one.
const LONGEST: Duration = Duration::from_secs(4);
/// How much later the reply may come, before the connection counts as broken.
const GRACE: Duration = Duration::from_secs(2);

/// A connection for waits, with its id in the server.
#[derive(Debug, Clone)]
pub(crate) struct BlockingConnection {
    pub(crate) connection: Connection,
    id: i64,
}

impl BlockingConnection {
    /// Learns the id of a new connection.
    pub(crate) async fn new(mut connection: Connection, limit: Duration) -> Result<Self> {
        let mut command = redis::cmd("CLIENT");
        command.arg("ID");
        match ask(&mut connection, &command, limit).await? {
            Value::Int(id) => Ok(Self { connection, id }),
            _ => Err(unexpected_reply(WHAT)),
        }
    }
}

/// The reply to a command on a connection for waits, within `limit`.
pub(crate) async fn ask(connection: &mut Connection, command: &redis::Cmd, limit: Duration) -> Result<Value> {
    match connection.ask(Instant::now() + limit, async |raw| raw.send_packed_command(command).await).await {
        Ok(Ok(Value::ServerError(error))) => Err(from_redis(WHAT, &connection.server, error.into())),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(from_redis(WHAT, &connection.server, error)),
        Err(_) => Err(timed_out(WHAT, &connection.server, limit)),
    }
}

/// A handle by which a wait can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct WaitHandle {
    /// The connection's id, from just before it blocks; 0 before.
    id: AtomicI64,
    cancelled: AtomicBool,
}

impl WaitHandle {
    /// Cancels the wait. Returns the id of the connection that must be unblocked, if it blocks already.
    pub(crate) fn cancel(&self) -> Option<i64> {
        self.cancelled.store(true, Ordering::SeqCst);
        Some(self.id.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) struct WaitEnd {
    /// The number of its list.
    pub(crate) list_number: usize,
    /// How long the server was waited for, since the wait was sent to it; zero if it was not sent.
    pub(crate) lasted: Duration,
    /// The connection, if it can be used again.
    pub(crate) connection: Option<BlockingConnection>,
    pub(crate) result: Result<WaitResult>,
}

/// The result of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitResult {
    /// A message was moved to the handoff list, this long after the wait began.
    Moved { after: Duration },
    /// The time was up, or the wait was cancelled.
    Nothing,
    /// Others have taken this consumer for dead, and closed the handoff list. No message was moved.
    Closed,
}

/// Waits until a message was moved from `list` to `handoff`.
pub(crate) async fn wait(
    shared: Arc<BrokerShared>,
    list_number: usize,
    (list, handoff): (String, String),
    blocking: Option<BlockingConnection>,
    handle: Arc<WaitHandle>,
) -> WaitEnd {
    let preferred = shared.connection.server();
    // It must wait at the server to which the commands go, since they claim what it moves.
    let blocking =
        blocking.filter(|blocking| preferred.as_ref().is_none_or(|preferred| *preferred == blocking.connection.server));
    let mut blocking = match blocking {
        Some(blocking) => blocking,
        None => match open(&shared, preferred.as_ref()).await {
            Ok(blocking) => blocking,
            Err(error) => {
                return WaitEnd { list_number, lasted: Duration::ZERO, connection: None, result: Err(error) };
            }
        },
    };
    handle.id.store(blocking.id, Ordering::SeqCst);
    if handle.cancelled.load(Ordering::SeqCst) {
        let result = Ok(WaitResult::Nothing);
        return WaitEnd { list_number, lasted: Duration::ZERO, connection: Some(blocking), result };
    }
    let mut command = redis::cmd("BLMOVE");
    command.arg(&list).arg(&handoff).arg("RIGHT").arg("LEFT").arg(LONGEST.as_secs());
    reached("before-wait");
    let began = Instant::now();
    let moving = async |raw: &mut MultiplexedConnection| raw.send_packed_command(&command).await;
    let answer = blocking.connection.ask_and_block(began + LONGEST + GRACE, moving).await;
    let result = match answer {
        Ok(Ok(Value::Nil)) => Ok(WaitResult::Nothing),
        Ok(Ok(Value::ServerError(error))) => refused(&shared, &blocking, (&list, &handoff), error.into()).await,
        Ok(Ok(_)) => {
            reached("after-wait");
            Ok(WaitResult::Moved { after: began.elapsed() })
        }
        Ok(Err(error)) => refused(&shared, &blocking, (&list, &handoff), error).await,
        Err(_) => Err(timed_out(WHAT, &blocking.connection.server, LONGEST + GRACE)),
    };
    WaitEnd { list_number, lasted: began.elapsed(), connection: result.is_ok().then_some(blocking), result }
}

pub(crate) const WHAT: &str = "wait for messages";

/// What an error means. Of the keys the handoff list alone has another type where it is closed.
async fn refused(
    shared: &BrokerShared,
    blocking: &BlockingConnection,
    (list, handoff): (&str, &str),
    error: redis::RedisError,
) -> Result<WaitResult> {
    let server = &blocking.connection.server;
    if wrong_key_type(&error).is_none() {
        return Err(from_redis(WHAT, server, error));
    }
    let mut command = redis::cmd("TYPE");
    command.arg(handoff);
    let answer = shared.connection.command(WHAT, &command).await?;
    match redis::from_redis_value::<String>(answer).is_ok_and(|kind| kind == "string") {
        true => Ok(WaitResult::Closed),
        false => Err(from_redis(&format!("{WHAT}, with the key {list:?},"), server, error)),
    }
}

async fn open(shared: &BrokerShared, preferred: Option<&ServerAddress>) -> Result<BlockingConnection> {
    let target = shared.connection.target();
    let connection = connect(target, preferred).await?.connection;
    BlockingConnection::new(connection, target.connect_timeout).await
}
