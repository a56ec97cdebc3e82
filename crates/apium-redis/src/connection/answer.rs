//! The answer to a command, awaited until a deadline or until the connection has ended.
//!
//! The library hands a command to a task that serves the connection. One that is handed over in the moment in which
//! this task ends stays there, and gets neither an answer nor an error. So whoever awaits an answer also asks whether
//! the connection still lives. Without that the caller would notice only at its deadline, some seconds after the server
//! is back.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::connection::connect::PushListener;
use crate::errors::breaks_connection;

/// How long a command has no answer before its connection is checked. Few commands take so long, and a check costs one
/// PING.
const CHECK_AFTER: Duration = Duration::from_millis(100);

/// How it is known that a connection has ended.
#[derive(Clone)]
pub(crate) enum End {
    /// The library says it: it does so on a connection that gets what the server says without being asked.
    Announced(watch::Receiver<bool>),
    /// A command that is sent later is refused.
    Checked,
}

impl End {
    /// A listener that passes everything on to `listener`, and what it hears of the end.
    pub(crate) fn announced(listener: &PushListener) -> (PushListener, Self) {
        let (ended, announced) = watch::channel(false);
        let listener = listener.clone();
        let listener: PushListener = Arc::new(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.send_replace(true);
            }
            listener(push);
        });
        (listener, Self::Announced(announced))
    }

    /// The answer of `sent`, which was sent on the connection `raw`.
    pub(crate) async fn or_answer<T>(
        self,
        raw: MultiplexedConnection,
        deadline: Instant,
        sent: impl Future<Output = RedisResult<T>>,
    ) -> Result<RedisResult<T>, Elapsed> {
        let mut sent = pin!(sent);
        if let Self::Checked = self {
            let first = tokio::time::timeout_at(deadline.min(Instant::now() + CHECK_AFTER), &mut sent).await;
            if let Ok(answer) = first {
                return Ok(answer);
            }
        }
        let answer = async {
            tokio::select! {
                biased;
                answer = sent => answer,
                error = self.reached(raw) => Err(error),
            }
        };
        tokio::time::timeout_at(deadline, answer).await
    }

    /// Returns when the connection has ended. It may never return on one that ends later: then what was sent on it
    /// gets an error.
    async fn reached(self, mut raw: MultiplexedConnection) -> RedisError {
        match self {
            Self::Announced(mut announced) => {
                // An error means that the connection, which holds the sender, is gone.
                let _ = announced.wait_for(|ended| *ended).await;
                io::Error::from(io::ErrorKind::BrokenPipe).into()
            }
            Self::Checked => match raw.send_packed_command(&redis::cmd("PING")).await {
                Err(error) if breaks_connection(&error) => error,
                _ => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::RedisConnectionInfo;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// A connection whose task has ended.
    async fn ended() -> MultiplexedConnection {
        let (client, _server) = tokio::io::duplex(64);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (raw, serving) = MultiplexedConnection::new(&info, client).await.unwrap();
        drop(serving);
        raw
    }

    /// How long a command that was handed over, and that nobody has any more, is waited for.
    async fn waited(end: End) -> Duration {
        let began = Instant::now();
        let answer = end.or_answer(ended().await, began + DEADLINE, std::future::pending::<RedisResult<()>>()).await;
        assert!(breaks_connection(&answer.unwrap().unwrap_err()));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_answer_of_a_connection_that_has_ended() {
        assert_eq!(waited(End::Checked).await, CHECK_AFTER);
        let nothing: PushListener = Arc::new(|_| {});
        let (listener, announced) = End::announced(&nothing);
        listener(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        assert_eq!(waited(announced).await, Duration::ZERO);
        let (listener, announced) = End::announced(&nothing);
        drop(listener);
        assert_eq!(waited(announced).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_come_goes_first() {
        let nothing: PushListener = Arc::new(|_| {});
        let (listener, announced) = End::announced(&nothing);
        drop(listener);
        for end in [End::Checked, announced] {
            let answer = end.or_answer(ended().await, Instant::now() + DEADLINE, async { Ok(7) }).await;
            assert_eq!(answer.unwrap().unwrap(), 7);
        }
    }
}
