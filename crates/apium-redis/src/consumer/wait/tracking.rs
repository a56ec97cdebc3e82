//! Tracking: the server says when one of many lists has changed (`CLIENT TRACKING`, on a connection that speaks RESP3).
//! One connection is enough for any number of lists, and nothing is taken out of them.
//!
//! A look (EXISTS) at lists says whether there is a message in any of them. From then on the server names each of them
//! at its next change, once, until it is looked at again. It does so on the connection of the look, also while a
//! blocking move waits there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_transport::error::{Error, ErrorKind, Result};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::connect::{PushListener, connect_listening};
use crate::consumer::wait::blocking_wait::{BlockingConnection, WHAT, ask};
use crate::errors::unexpected_reply;
use crate::shared::BrokerShared;

/// What the server has said of changes, and nobody has read yet.
#[derive(Debug, Default)]
pub(crate) struct ListChanges {
    unread: Mutex<Unread>,
    pub(crate) notify: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Unread {
    keys: HashSet<String>,
    /// All keys have changed, as when the server loses its data.
    all: bool,
}

impl Unread {
    /// Whether this key has changed. It is read then.
    pub(crate) fn take(&mut self, key: &str) -> bool {
        self.keys.remove(key) || self.all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.all
    }
}

impl ListChanges {
    /// Reads what is unread. What `read` leaves is dropped, unless it says that it is still of use.
    pub(crate) fn read(&self, read: impl FnOnce(&mut Unread) -> bool) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if !unread.is_empty() && !read(&mut unread) {
            *unread = Unread::default();
        }
    }

    fn add(&self, push: &PushInfo) {
        if push.kind != PushKind::Invalidate {
            return;
        }
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        match push.data.first() {
            Some(Value::Array(keys)) => {
                let text = |key: &Value| redis::from_redis_value_ref::<String>(key).ok();
                unread.keys.extend(keys.iter().filter_map(text));
            }
            _ => unread.all = true,
        }
        drop(unread);
        self.notify.notify_one();
    }
}

/// A connection on which lists are tracked.
#[derive(Debug)]
pub(crate) struct TrackingConnection {
    pub(crate) blocking: BlockingConnection,
    /// When all lists were looked at, the last time.
    pub(crate) looked_at: Instant,
}

/// What a look found.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// There is a message in one of the lists.
    Messages,
    /// The server does not track lists, or does not let this user.
    NoTracking(Error),
}

/// How a look ended.
#[derive(Debug)]
pub(crate) struct LookEnd {
    /// The numbers of the lists.
    pub(crate) list_numbers: Vec<usize>,
    /// How long the server was waited for; zero if there was no connection.
    pub(crate) lasted: Duration,
    /// The connection, if it can be used again.
    pub(crate) connection: Option<TrackingConnection>,
    /// Whether it is a new one, on which no other lists are tracked.
    pub(crate) is_new: bool,
    /// How many consumers there are, if it was asked.
    pub(crate) consumers: Option<usize>,
    pub(crate) result: Result<Found>,
}

/// Looks at lists, so that the server says when they change. `counts` asks for the number of consumers too.
pub(crate) async fn look(
    shared: Arc<BrokerShared>,
    (list_numbers, keys): (Vec<usize>, Vec<String>),
    connection: Option<TrackingConnection>,
    changes: Arc<ListChanges>,
    counts: bool,
) -> LookEnd {
    let preferred = shared.connection.server();
    // It must wait at the server to which the commands go.
    let is_right = |open: &TrackingConnection| {
        preferred.as_ref().is_none_or(|preferred| *preferred == open.blocking.connection.server)
    };
    let usable = connection.filter(is_right);
    let mut end = LookEnd {
        list_numbers,
        lasted: Duration::ZERO,
        connection: None,
        is_new: usable.is_none(),
        consumers: None,
        result: Ok(Found::Nothing),
    };
    let opened = match usable {
        Some(open) => Ok(Ok(open)),
        None => open(&shared, &changes).await,
    };
    let mut open = match opened {
        Ok(Ok(open)) => open,
        Ok(Err(refused)) => return LookEnd { result: Ok(Found::NoTracking(refused)), ..end },
        Err(error) => return LookEnd { result: Err(error), ..end },
    };
    let began = Instant::now();
    // What the server says from here on may be newer than what it answers.
    changes.read(|unread| {
        keys.iter().for_each(|key| _ = unread.take(key));
        !unread.is_empty()
    });
    let mut command = redis::cmd("EXISTS");
    command.arg(&keys);
    let result = match ask(&mut open.blocking.connection, &command, shared.connection.target().answer_timeout).await {
        Ok(Value::Int(0)) => Ok(Found::Nothing),
        Ok(Value::Int(_)) => Ok(Found::Messages),
        Ok(_) => Err(unexpected_reply(WHAT)),
        Err(error) => Err(error),
    };
    end.lasted = began.elapsed();
    if counts {
        end.consumers = count_consumers(&shared).await;
    }
    LookEnd { connection: result.is_ok().then_some(open), result, ..end }
}

/// How many consumers are registered. Without an answer the last count holds.
async fn count_consumers(shared: &BrokerShared) -> Option<usize> {
    let mut command = redis::cmd("ZCARD");
    command.arg(shared.keys.leases());
    let answer = shared.connection.command("count the consumers", &command).await.ok()?;
    redis::from_redis_value(answer).ok()
}

/// Opens a connection. The inner error is that of a server that has no tracking.
async fn open(
    shared: &BrokerShared,
    changes: &Arc<ListChanges>,
) -> Result<std::result::Result<TrackingConnection, Error>> {
    let target = shared.connection.target();
    let listener: PushListener = {
        let changes = changes.clone();
        Arc::new(move |push| changes.add(&push))
    };
    let mut connection = match connect_listening(target, shared.connection.server().as_ref(), &listener).await {
        Ok(handshake) => handshake.connection,
        // It does not know the greeting of the newer protocol.
        Err(error) if error.kind() == ErrorKind::Other => return Ok(Err(error)),
        Err(error) => return Err(error),
    };
    let mut command = redis::cmd("CLIENT");
    command.arg("TRACKING").arg("ON");
    match ask(&mut connection, &command, target.connect_timeout).await {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::Other | ErrorKind::Refused) => return Ok(Err(error)),
        Err(error) => return Err(error),
    }
    let blocking = BlockingConnection::new(connection, target.connect_timeout).await?;
    Ok(Ok(TrackingConnection { blocking, looked_at: Instant::now() }))
}
