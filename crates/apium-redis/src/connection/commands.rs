//! The connection for commands that do not block: one for all, which is replaced when it breaks.
//!
//! Every command has a deadline. A connection is dropped when it breaks, when a command misses its deadline (a network
//! that swallows everything shows no other sign), and when its server has become a replica. The next command connects
//! again, after a pause that grows with each failure.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind, Result};
use apium_transport::health::Health;
use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::connect::{Connection, Handshake, connect, timed_out};
use crate::errors::{breaks_connection, from_redis, is_out_of_memory, is_too_large, is_unknown_script, wrong_key_type};
use crate::options::target::{ServerAddress, Target};
use crate::scripts::script::{HEARTBEAT, Script};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short, so that the server is in use soon after it is back, however long it was away. An attempt is cheap: one
/// connection and one round trip of each process.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// A server takes values of this size, however it is configured.
const ALWAYS_TAKEN: usize = 1 << 20;
/// The largest value that a server takes unless its `proto-max-bulk-len` says otherwise.
const USUAL_LIMIT: usize = 512 << 20;

/// A connection that is replaced when it breaks. Clones share it, and are closed together. A broker and a result
/// backend in one store share it too, and each is closed for itself.
#[derive(Debug, Clone)]
pub(crate) struct CommandConnection {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
}

/// What belongs to one of those who share a connection.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    clock: Clock,
    closed: Arc<watch::Sender<bool>>,
}

impl Handle {
    fn new(shared: Arc<Shared>, clock: Clock, closed: Arc<watch::Sender<bool>>) -> Arc<Self> {
        shared.handles.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { shared, clock, closed })
    }

    /// Closes it. The connection ends with the last one that is open.
    fn close(&self) {
        if !self.closed.send_replace(true) {
            self.leave();
        }
    }

    fn leave(&self) {
        if self.shared.handles.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.lock().connection = None;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // It does not close the other connections that are closed with this one.
        if !*self.closed.borrow() {
            self.leave();
        }
    }
}

/// A connection that somebody may still have open.
#[derive(Debug)]
pub(crate) struct WeakConnection(Weak<Shared>);

impl WeakConnection {
    /// The connection for one more user, if it is open and leads where `target` does.
    pub(crate) fn open(&self, target: &Target, clock: &Clock) -> Option<CommandConnection> {
        let shared = self.0.upgrade().filter(|shared| shared.target == *target)?;
        let handle = Handle::new(shared.clone(), clock.clone(), Arc::new(watch::Sender::new(false)));
        Some(CommandConnection { shared, handle })
    }

    /// Whether anybody has it.
    pub(crate) fn is_used(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[derive(Debug)]
struct Shared {
    target: Target,
    /// How many users have it open.
    handles: AtomicUsize,
    state: Mutex<State>,
    /// Locked by the one that connects. The others wait, and use the same connection.
    connecting: tokio::sync::Mutex<()>,
    /// The server's time at `created`, in milliseconds; a guess until the server was asked.
    offset: AtomicI64,
    created: Instant,
    /// The number of the last connection.
    reconnects: watch::Sender<u64>,
    /// Commands sent since `created`, for tests and measurements.
    sent: AtomicU64,
    common: Arc<Common>,
}

/// What all connections to one server on behalf of one handle have in common.
#[derive(Debug)]
struct Common {
    /// Since when and why the server cannot be reached, as the last attempt of any of them showed.
    broken: Mutex<Option<(Timestamp, String)>>,
    /// The size of the smallest value that the server has refused.
    too_large: AtomicUsize,
}

impl Common {
    fn broken(&self) -> MutexGuard<'_, Option<(Timestamp, String)>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    connection: Option<(Connection, u64)>,
    pause: Option<(Instant, Duration)>,
    connected_at: Option<Instant>,
    /// How large a value the server takes, as it said on the connection with this number.
    limit: Option<(u64, usize)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since `created`, by a clock that nobody can set.
    fn since_created(&self) -> i64 {
        i64::try_from(self.created.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// Learns the server's time from a reply to TIME.
    fn learn(&self, time: &Value) {
        if let Ok((seconds, micros)) = redis::from_redis_value_ref::<(i64, i64)>(time) {
            self.set_time(seconds * 1000 + micros / 1000);
        }
    }

    /// Sets the server's time, in milliseconds.
    fn set_time(&self, server: i64) {
        self.offset.store(server - self.since_created(), Ordering::Relaxed);
    }
}

impl CommandConnection {
    pub(crate) fn new(target: Target, clock: Clock) -> Self {
        let common = Common { broken: Mutex::default(), too_large: AtomicUsize::new(usize::MAX) };
        Self::with(target, clock, Arc::new(common), Arc::new(watch::Sender::new(false)))
    }

    /// One more connection to the same server, for another runtime: a connection is served by the runtime that opened
    /// it. Both are closed together, and have one health.
    pub(crate) fn another(&self) -> Self {
        let (target, clock) = (self.shared.target.clone(), self.handle.clock.clone());
        Self::with(target, clock, self.shared.common.clone(), self.handle.closed.clone())
    }

    fn with(target: Target, clock: Clock, common: Arc<Common>, closed: Arc<watch::Sender<bool>>) -> Self {
        let shared = Arc::new(Shared {
            target,
            handles: AtomicUsize::new(0),
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            offset: AtomicI64::new(clock.now().as_millisecond()),
            created: Instant::now(),
            reconnects: watch::Sender::new(0),
            sent: AtomicU64::new(0),
            common,
        });
        Self { handle: Handle::new(shared.clone(), clock, closed), shared }
    }

    /// A reference that does not keep it open.
    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.shared))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.shared.target
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.handle.clock
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Milliseconds since the epoch by the server's clock, so that all workers agree.
    pub(crate) fn server_now(&self) -> i64 {
        self.shared.since_created() + self.shared.offset.load(Ordering::Relaxed)
    }

    /// Asks the server for its time, since this machine may have slept, or the server's clock may have been set. This
    /// is done before another consumer is taken for dead, and after this one was taken for dead.
    pub(crate) async fn learn_time(&self) -> Result<()> {
        let time = self.command("ask for the time", &redis::cmd("TIME")).await?;
        self.shared.learn(&time);
        Ok(())
    }

    /// The number of the last connection. It counts up with each.
    pub(crate) fn reconnects(&self) -> watch::Receiver<u64> {
        self.shared.reconnects.subscribe()
    }

    /// The number of the last connection, or 0 before the first.
    pub(crate) fn number(&self) -> u64 {
        *self.shared.reconnects.borrow()
    }

    /// How old the present connection is.
    pub(crate) fn connected_for(&self) -> Option<Duration> {
        let state = self.lock();
        state.connection.as_ref()?;
        state.connected_at.map(|at| at.elapsed())
    }

    /// Whether the server could be reached when it was last tried.
    pub(crate) fn health(&self) -> Health {
        match &*self.shared.common.broken() {
            None => Health::Green,
            Some((since, reason)) => Health::Red { since: *since, reason: format!("could not {reason}") },
        }
    }

    /// The server of the present connection.
    pub(crate) fn server(&self) -> Option<ServerAddress> {
        self.lock().connection.as_ref().map(|(connection, _)| connection.server.clone())
    }

    /// Closes it: from now on every command is refused.
    pub(crate) fn close(&self) {
        self.handle.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.handle.closed.borrow()
    }

    /// Returns when it is closed.
    pub(crate) async fn wait_closed(&self) {
        let mut closed = self.handle.closed.subscribe();
        // The sender lives in `self`.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Refuses if it was closed.
    pub(crate) fn check_open(&self, what: &str) -> Result<()> {
        match self.is_closed() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, format!("{what}: this handle was closed"))),
        }
    }

    /// Runs one command within the deadline of the target.
    pub(crate) async fn command(&self, what: &str, command: &Cmd) -> Result<Value> {
        let key = |_: usize| key_of(command);
        let largest = largest_value(command);
        self.run(what, key, largest, async |raw| raw.send_packed_command(command).await).await
    }

    /// Runs a ZADD that is a heartbeat. If the server's memory is full it costs one round trip more and is done all the
    /// same: a consumer without heartbeats would be taken for dead.
    pub(crate) async fn heartbeat(&self, what: &str, zadd: &Cmd) -> Result<Value> {
        let key = |_: usize| key_of(zadd);
        self.run(what, key, 0, async |raw| {
            let answer = raw.send_packed_command(zadd).await;
            let refused = match &answer {
                Ok(Value::ServerError(error)) => is_out_of_memory(&error.clone().into()),
                Ok(_) => false,
                Err(error) => is_out_of_memory(error),
            };
            if !refused {
                return answer;
            }
            let mut command = redis::cmd("EVAL");
            command.arg(HEARTBEAT.text()).arg(1);
            for arg in zadd.args_iter().skip(1) {
                if let redis::Arg::Simple(arg) = arg {
                    command.arg(arg);
                }
            }
            raw.send_packed_command(&command).await
        })
        .await
    }

    /// Runs commands in one write and returns their replies. An error of one is the error of all.
    pub(crate) async fn pipeline(&self, what: &str, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let key = |server: usize| pipeline.cmd_iter().nth(server).and_then(key_of);
        let largest = pipeline.cmd_iter().map(largest_value).max().unwrap_or(0);
        let answers = self
            .run(what, key, largest, async |raw| {
                let answer: Value = pipeline.query_async(raw).await?;
                Ok(answer)
            })
            .await?;
        match answers {
            Value::Array(answers) => Ok(answers),
            Value::Nil => Ok(Vec::new()),
            other => Ok(vec![other]),
        }
    }

    /// Runs a script by its hash, or by its text if the server does not know it yet.
    pub(crate) async fn script(&self, what: &str, script: &Script, fill: impl Fn(&mut Cmd)) -> Result<Value> {
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(script.hash());
        fill(&mut by_hash);
        // The scripts name the key of an error themselves.
        self.run(
            what,
            |_| None,
            largest_value(&by_hash),
            async |raw| {
                match raw.send_packed_command(&by_hash).await {
                    Err(error) if is_unknown_script(&error) => {}
                    Ok(Value::ServerError(error)) if error.code() == "NOSCRIPT" => {}
                    answer => return answer,
                }
                let mut command = redis::cmd("EVAL");
                command.arg(script.text());
                fill(&mut command);
                raw.send_packed_command(&command).await
            },
        )
        .await
    }

    async fn run(
        &self,
        what: &str,
        key: impl Fn(usize) -> Option<String>,
        largest: usize,
        send: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<Value, RedisError>,
    ) -> Result<Value> {
        self.check_open(what)?;
        let limit = self.shared.target.answer_timeout;
        let deadline = Instant::now() + limit;
        let (mut connection, number) = self.connection(what, deadline).await?;
        if largest > ALWAYS_TAKEN {
            self.check_size(what, largest, (&mut connection, number), deadline).await?;
        }
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        let answer = connection.ask(deadline, send).await;
        let server = connection.server;
        let answer = match answer {
            Ok(Ok(Value::ServerError(error))) => Ok(Err(error.into())),
            answer => answer,
        };
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_too_large(&error) => {
                // The server did not tell its limit when it was asked.
                self.shared.common.too_large.fetch_min(largest, Ordering::Relaxed);
                let limit = format!("fewer than the {largest} bytes of the largest value");
                self.drop_connection(number, &from_redis(what, &server, error));
                Err(too_large(what, &server, largest, &limit))
            }
            Ok(Err(error)) => match wrong_key_type(&error).and_then(key) {
                Some(key) => Err(self.failed(&format!("{what}, with the key {key:?},"), &server, number, error)),
                None => Err(self.failed(what, &server, number, error)),
            },
            Err(_) => {
                let error = timed_out(what, &server, limit);
                self.drop_connection(number, &error);
                Err(error)
            }
        }
    }

    /// Refuses a value that the server does not take: it would answer with an error and close the connection, and with
    /// it all that others have sent.
    async fn check_size(
        &self,
        what: &str,
        largest: usize,
        (connection, number): (&mut Connection, u64),
        deadline: Instant,
    ) -> Result<()> {
        let known = self.lock().limit.filter(|(of, _)| *of == number).map(|(_, limit)| limit);
        let limit = match known {
            Some(limit) => limit,
            None => {
                let mut command = redis::cmd("CONFIG");
                command.arg("GET").arg("proto-max-bulk-len");
                // A server that does not tell has the usual limit. If it breaks meanwhile, the command itself shows it.
                let answer = connection.ask(deadline, async |raw| raw.send_packed_command(&command).await).await;
                let limit = answer.ok().and_then(Result::ok).and_then(|answer| limit_in(&answer));
                let limit = limit.unwrap_or(USUAL_LIMIT);
                self.lock().limit = Some((number, limit));
                limit
            }
        };
        let limit = limit.min(self.shared.common.too_large.load(Ordering::Relaxed).saturating_sub(1));
        match largest <= limit {
            true => Ok(()),
            false => Err(too_large(what, &connection.server, largest, &format!("{limit} bytes at most"))),
        }
    }

    fn failed(&self, what: &str, server: &dyn std::fmt::Display, number: u64, error: RedisError) -> Error {
        let broken = breaks_connection(&error);
        let error = from_redis(what, server, error);
        if broken {
            self.drop_connection(number, &error);
        }
        if self.is_closed() {
            return Error::new(ErrorKind::Closed, format!("{what}: this handle was closed")).with_source(error);
        }
        error
    }

    /// Drops the connection with this number, unless there is another one already.
    fn drop_connection(&self, number: u64, why: &Error) {
        let mut state = self.lock();
        if state.connection.as_ref().is_some_and(|(_, own)| *own == number) {
            state.connection = None;
            self.shared.common.broken().get_or_insert_with(|| (self.handle.clock.now(), format!("{why:#}")));
        }
    }

    fn present(&self) -> Option<(Connection, u64)> {
        self.lock().connection.clone()
    }

    /// The present connection, or a new one.
    async fn connection(&self, what: &str, deadline: Instant) -> Result<(Connection, u64)> {
        if let Some(present) = self.present() {
            return Ok(present);
        }
        let limit = self.shared.target.answer_timeout;
        let no_connection = |_| {
            let broken = self.shared.common.broken().clone();
            let why = broken.map(|(since, why)| format!("; it has been away since {since}: {why}")).unwrap_or_default();
            let text = format!("{what}: no connection to the server within {limit:?}{why}");
            Error::new(ErrorKind::Timeout, text)
        };
        let _alone = tokio::time::timeout_at(deadline, self.shared.connecting.lock()).await.map_err(no_connection)?;
        if let Some(present) = self.present() {
            return Ok(present);
        }
        let pause = self.lock().pause;
        if let Some((until, _)) = pause {
            tokio::time::timeout_at(deadline, tokio::time::sleep_until(until)).await.map_err(no_connection)?;
        }
        let opened = tokio::time::timeout_at(deadline, self.open()).await;
        let opened = opened.unwrap_or_else(|elapsed| Err(no_connection(elapsed)));
        let mut state = self.lock();
        match opened {
            Ok(connection) => {
                let number = *self.shared.reconnects.borrow() + 1;
                state.connection = Some((connection.clone(), number));
                state.pause = None;
                state.connected_at = Some(Instant::now());
                let was_broken = self.shared.common.broken().take();
                if let Some((since, _)) = was_broken {
                    tracing::info!(server = %connection.server, %since, "connected again");
                }
                drop(state);
                self.shared.reconnects.send_replace(number);
                Ok((connection, number))
            }
            Err(error) => {
                let pause = state.pause.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
                // A random factor, so that workers that lost the same server do not all come back at once.
                let spread = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
                state.pause = Some((Instant::now() + spread, pause));
                let reason = format!("{error:#}");
                match &mut *self.shared.common.broken() {
                    Some((_, last)) => *last = reason,
                    none => *none = Some((self.handle.clock.now(), reason)),
                }
                Err(error)
            }
        }
    }

    /// Connects and learns the server's time.
    async fn open(&self) -> Result<Connection> {
        let Handshake { connection, time } = connect(&self.shared.target, None).await?;
        if let Some(server) = time {
            self.shared.set_time(server);
        }
        Ok(connection)
    }
}

/// The size of the largest argument.
fn largest_value(command: &Cmd) -> usize {
    let size = |arg| if let redis::Arg::Simple(bytes) = arg { <[u8]>::len(bytes) } else { 0 };
    command.args_iter().map(size).max().unwrap_or(0)
}

/// The limit in a reply to CONFIG GET.
fn limit_in(answer: &Value) -> Option<usize> {
    let (_, limit) = redis::from_redis_value_ref::<(String, String)>(answer).ok()?;
    limit.parse().ok()
}

fn too_large(what: &str, server: &dyn std::fmt::Display, largest: usize, limit: &str) -> Error {
    let text = format!(
        "{what} at {server}: one value has {largest} bytes, and the server takes {limit} (its option proto-max-bulk-len)"
    );
    Error::new(ErrorKind::TooLarge, text)
}

/// The key of a command, if it has one.
fn key_of(command: &Cmd) -> Option<String> {
    match command.args_iter().nth(1) {
        Some(redis::Arg::Simple(key)) => Some(String::from_utf8_lossy(key).into_owned()),
        _ => None,
    }
}
