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

use crate::connection::connect::{Connection, connect, too_slow};
use crate::crash_points::reached;
use crate::errors::{from_redis, key_trouble};
use crate::options::target::Place;
use crate::shared::Core;

/// How long one wait lasts before it is begun again. A server that is gone without a word is noticed soon after.
const LONGEST: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(2);

/// A connection for waits.
#[derive(Debug, Clone)]
pub(crate) struct WaitLine {
    connection: Connection,
    id: i64,
}

/// A wait from outside: what is needed to call it off.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The connection's id once it blocks, or is about to.
    id: AtomicI64,
    called_off: AtomicBool,
}

impl Control {
    /// Asks for the end; answers the connection to be woken, if it waits already.
    pub(crate) fn call_off(&self) -> Option<i64> {
        self.called_off.store(true, Ordering::SeqCst);
        Some(self.id.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The place of its list.
    pub(crate) place: usize,
    pub(crate) line: Option<WaitLine>,
    pub(crate) outcome: Result<Outcome>,
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A message was moved, this long after the wait was begun.
    Moved { after: Duration },
    /// The time was up, or it was called off.
    Nothing,
}

/// Waits until a message of `list` was moved to `taken`.
pub(crate) async fn wait(
    core: Arc<Core>,
    place: usize,
    (list, taken): (String, String),
    line: Option<WaitLine>,
    control: Arc<Control>,
) -> Ended {
    let wanted = core.link.place();
    // A wait is where the commands go, or what it moves is not found.
    let line = line.filter(|line| wanted.as_ref().is_none_or(|wanted| *wanted == line.connection.place));
    let mut line = match line {
        Some(line) => line,
        None => match open(&core, wanted.as_ref()).await {
            Ok(line) => line,
            Err(error) => return Ended { place, line: None, outcome: Err(error) },
        },
    };
    control.id.store(line.id, Ordering::SeqCst);
    if control.called_off.load(Ordering::SeqCst) {
        return Ended { place, line: Some(line), outcome: Ok(Outcome::Nothing) };
    }
    let mut command = redis::cmd("BLMOVE");
    command.arg(&list).arg(taken).arg("RIGHT").arg("LEFT").arg(LONGEST.as_secs());
    reached("before-wait");
    let began = tokio::time::Instant::now();
    let moving = line.connection.raw.send_packed_command(&command);
    let answer = tokio::time::timeout(LONGEST + GRACE, moving).await;
    let outcome = match answer {
        Ok(Ok(Value::Nil)) => Ok(Outcome::Nothing),
        Ok(Ok(Value::ServerError(error))) => Err(failed(&line, &list, error.into())),
        Ok(Ok(_)) => {
            reached("after-wait");
            Ok(Outcome::Moved { after: began.elapsed() })
        }
        Ok(Err(error)) => Err(failed(&line, &list, error)),
        Err(_) => Err(too_slow(WHAT, &line.connection.place, LONGEST + GRACE)),
    };
    // A connection that failed is not used again.
    let line = outcome.is_ok().then_some(line);
    Ended { place, line, outcome }
}

const WHAT: &str = "wait for messages";

fn failed(line: &WaitLine, list: &str, error: redis::RedisError) -> Error {
    match key_trouble(&error) {
        Some(_) => from_redis(&format!("{WHAT}, with the key {list:?},"), &line.connection.place, error),
        None => from_redis(WHAT, &line.connection.place, error),
    }
}

async fn open(core: &Core, wanted: Option<&Place>) -> Result<WaitLine> {
    let target = core.link.target();
    let mut connection = connect(target, wanted).await?.connection;
    let mut command = redis::cmd("CLIENT");
    command.arg("ID");
    let asking = connection.raw.send_packed_command(&command);
    let answer = tokio::time::timeout(target.connect_timeout, asking).await;
    match answer {
        Ok(Ok(Value::Int(id))) => Ok(WaitLine { connection, id }),
        Ok(Ok(Value::ServerError(error))) => Err(from_redis(WHAT, &connection.place, error.into())),
        Ok(Ok(_)) => Err(crate::errors::odd_answer(WHAT)),
        Ok(Err(error)) => Err(from_redis(WHAT, &connection.place, error)),
        Err(_) => Err(too_slow(WHAT, &connection.place, target.connect_timeout)),
    }
}
