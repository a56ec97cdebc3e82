//! Connects to the server that a target means. For each connection the server is looked for anew: the first of a list
//! that answers, the master that a sentinel names, or the node of a cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apium_transport::error::{Error, ErrorKind, Result};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    RedisConnectionInfo, RedisError, RedisResult, Value,
};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::connection::answer::End;
use crate::connection::tls;
use crate::errors::{from_connecting, from_redis, unexpected_reply};
use crate::options::target::{Discovery, Login, ServerAddress, Target};

/// How often the operating system probes a silent connection. The driver has its own deadlines besides.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A connection, and the server to which it leads.
#[derive(Clone)]
pub(crate) struct Connection {
    raw: MultiplexedConnection,
    end: End,
    pub(crate) server: ServerAddress,
}

impl Connection {
    /// Sends something, and awaits its answer until `deadline`.
    pub(crate) async fn ask<T>(
        &mut self,
        deadline: Instant,
        send: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> std::result::Result<RedisResult<T>, Elapsed> {
        let (end, raw) = (self.end.clone(), self.raw.clone());
        end.or_answer(raw, deadline, send(&mut self.raw)).await
    }

    /// The same for a command whose answer may come late: no other command checks the connection meanwhile, since idle
    /// workers would send it all the time.
    pub(crate) async fn ask_and_block<T>(
        &mut self,
        deadline: Instant,
        send: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> std::result::Result<RedisResult<T>, Elapsed> {
        match self.end {
            End::Announced(_) => self.ask(deadline, send).await,
            End::Checked => tokio::time::timeout_at(deadline, send(&mut self.raw)).await,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.server)
    }
}

/// A new connection, after login.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) connection: Connection,
    /// The server's time in milliseconds, if it told it.
    pub(crate) time: Option<i64>,
}

/// Gets what the server says without being asked. It must not block.
pub(crate) type PushListener = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Connects to a master: to `preferred` if the target means it too and it answers, else to another one.
pub(crate) async fn connect(target: &Target, preferred: Option<&ServerAddress>) -> Result<Handshake> {
    connect_as(target, preferred, None).await
}

/// The same, by a newer protocol (RESP3), in which the server may say something without being asked.
pub(crate) async fn connect_listening(
    target: &Target,
    preferred: Option<&ServerAddress>,
    listener: &PushListener,
) -> Result<Handshake> {
    connect_as(target, preferred, Some(listener)).await
}

async fn connect_as(
    target: &Target,
    preferred: Option<&ServerAddress>,
    listener: Option<&PushListener>,
) -> Result<Handshake> {
    let mut candidates = candidates(target).await?;
    candidates.sort_by_key(|(server, _)| preferred != Some(server));
    let mut last = None;
    for (server, login) in candidates {
        match connect_to_master(target, server, &login, listener).await {
            Ok(handshake) => return Ok(handshake),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Address, "connect: the address names no server")))
}

/// Connects for subscriptions.
pub(crate) async fn connect_pubsub(target: &Target) -> Result<PubSub> {
    let mut last = None;
    for (server, login) in candidates(target).await? {
        let what = "connect for subscriptions";
        let opened = async {
            let client = client(target, &server, &login, target.database, ProtocolVersion::RESP2)?;
            let limit = target.handshake_timeout();
            let opening = tokio::time::timeout(limit, client.get_async_pubsub()).await;
            let opened = opening.map_err(|_| timed_out(what, &server, limit))?;
            opened.map_err(|error| from_connecting(what, &server, error, target.tls.is_some()))
        };
        match opened.await {
            Ok(opened) => return Ok(opened),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Address, "connect: the address names no server")))
}

pub(crate) fn timed_out(what: &str, server: &dyn fmt::Display, limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("{what} at {server}: no answer within {limit:?}"))
}

/// Connects and logs in. The commands `questions` are sent in the same round trip; returns their replies.
async fn connect_to(
    target: &Target,
    server: &ServerAddress,
    login: &Login,
    database: i64,
    questions: &[redis::Cmd],
    listener: Option<&PushListener>,
) -> Result<(MultiplexedConnection, Vec<Value>)> {
    const WHAT: &str = "connect";
    // The library must not log in, since it reports every refused login as a wrong password. With the newer protocol
    // the login is a part of its greeting.
    let client = match listener {
        None => client(target, server, &Login::default(), 0, ProtocolVersion::RESP2)?,
        Some(_) => client(target, server, login, 0, ProtocolVersion::RESP3)?,
    };
    let limit = target.handshake_timeout();
    // No response timeout here: the callers have a deadline for each command.
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024);
    if let Some(listener) = listener {
        let listener = listener.clone();
        config = config.set_push_sender(move |push| {
            listener(push);
            Ok::<(), redis::aio::SendError>(())
        });
    }
    let has_tls = target.tls.is_some();
    let failed = |error: RedisError, was_open: bool| match was_open && error.is_connection_dropped() {
        true => {
            let text = format!(
                "{WHAT} at {server}: it closed the connection at once, as a server does when maxclients is reached, or \
                 when its port wants TLS (rediss://)"
            );
            Error::new(ErrorKind::Connection, text).with_source(error)
        }
        false => from_connecting(WHAT, server, error, has_tls),
    };
    let opened = client.get_multiplexed_async_connection_with_config(&config).await;
    // With the newer protocol the server is greeted already.
    let mut raw = opened.map_err(|error| {
        let was_open = listener.is_some() && !error.is_connection_refusal();
        failed(error, was_open)
    })?;
    let mut pipeline = redis::pipe();
    if let (Some(password), None) = (&login.password, listener) {
        pipeline.cmd("AUTH").arg(&login.user).arg(password).ignore();
    }
    if database != 0 {
        pipeline.cmd("SELECT").arg(database).ignore();
    }
    for question in questions {
        pipeline.add_command(question.clone());
    }
    if pipeline.is_empty() {
        return Ok((raw, Vec::new()));
    }
    let asked = tokio::time::timeout(limit, pipeline.query_async(&mut raw)).await;
    let answers = asked.map_err(|_| timed_out(WHAT, server, limit))?.map_err(|error| failed(error, true))?;
    Ok((raw, answers))
}

/// Connects, learns the server's time, and refuses a replica.
async fn connect_to_master(
    target: &Target,
    server: ServerAddress,
    login: &Login,
    listener: Option<&PushListener>,
) -> Result<Handshake> {
    let questions = [redis::cmd("TIME"), redis::cmd("ROLE")];
    let (listener, end) = match listener.map(End::announced) {
        Some((listener, end)) => (Some(listener), end),
        None => (None, End::Checked),
    };
    let (raw, answers) = connect_to(target, &server, login, target.database, &questions, listener.as_ref()).await?;
    let time = answers.first().and_then(|time| redis::from_redis_value_ref::<(i64, i64)>(time).ok());
    let time = time.map(|(seconds, micros)| seconds * 1000 + micros / 1000);
    let role: Option<String> = match answers.get(1) {
        Some(Value::Array(parts)) => parts.first().and_then(|role| redis::from_redis_value_ref(role).ok()),
        _ => None,
    };
    if role.is_some_and(|role| role != "master") {
        let text = format!("connect to {server}: it is a replica; the address must lead to the master");
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    Ok(Handshake { connection: Connection { raw, end, server }, time })
}

fn client(
    target: &Target,
    server: &ServerAddress,
    login: &Login,
    database: i64,
    protocol: ProtocolVersion,
) -> Result<Client> {
    let created = make_client(target, server, login, database, protocol);
    created.map_err(|error| from_redis("connect", server, error))
}

fn make_client(
    target: &Target,
    server: &ServerAddress,
    login: &Login,
    database: i64,
    protocol: ProtocolVersion,
) -> RedisResult<Client> {
    let address = match (server, &target.tls) {
        (ServerAddress::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
        (ServerAddress::Tcp { host, port }, None) => ConnectionAddr::Tcp(host.clone(), *port),
        (ServerAddress::Tcp { host, port }, Some(tls)) => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: !tls.checked, tls_params: None }
        }
    };
    let mut own = RedisConnectionInfo::default().set_db(database).set_protocol(protocol).set_skip_set_lib_name();
    if let Some(user) = &login.user {
        own = own.set_username(user);
    }
    if let Some(password) = &login.password {
        own = own.set_password(password);
    }
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3));
    let info = address.into_connection_info()?.set_redis_settings(own).set_tcp_settings(tcp);
    match &target.tls {
        Some(tls) => tls::open(info, tls),
        None => Client::open(info),
    }
}

/// The servers to try, in order.
async fn candidates(target: &Target) -> Result<Vec<(ServerAddress, Login)>> {
    match &target.discovery {
        Discovery::Direct => Ok(target.servers.clone()),
        Discovery::Sentinel { master, login } => master_of(target, master, login).await,
        Discovery::Cluster { tag } => node_of(target, tag).await,
    }
}

/// The master, as the first sentinel that answers names it.
async fn master_of(target: &Target, master: &str, login: &Login) -> Result<Vec<(ServerAddress, Login)>> {
    let mut last = None;
    for (sentinel, own) in &target.servers {
        let asked = async {
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
            let what = "ask the sentinel for its master";
            let (_, answers) = connect_to(target, sentinel, login, 0, &[command], None).await?;
            let found = answers.into_iter().next().and_then(|server| redis::from_redis_value(server).ok()).flatten();
            let (host, port): (String, u16) = found.ok_or_else(|| {
                let text = format!(
                    "{what} {master:?} at {sentinel}: it watches none of that name; the option master_name must be one \
                     that `SENTINEL MASTERS` shows there"
                );
                Error::new(ErrorKind::NotFound, text)
            })?;
            Ok::<_, Error>((ServerAddress::Tcp { host, port }, own.clone()))
        };
        match asked.await {
            Ok(found) => return Ok(vec![found]),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Address, "connect: the address names no sentinel")))
}

/// The node that has the slot of the hash tag `tag`, which is in all keys of this driver.
async fn node_of(target: &Target, tag: &str) -> Result<Vec<(ServerAddress, Login)>> {
    let mut last = None;
    for (seed, login) in &target.servers {
        let asked = async {
            let what = "ask the cluster for its slots";
            let [mut slot, mut slots] = [redis::cmd("CLUSTER"), redis::cmd("CLUSTER")];
            slot.arg("KEYSLOT").arg(format!("{{{tag}}}"));
            slots.arg("SLOTS");
            let (_, answers) = connect_to(target, seed, login, 0, &[slot, slots], None).await?;
            let [Value::Int(slot), Value::Array(ranges)] = answers.as_slice() else {
                return Err(unexpected_reply(what));
            };
            let slot = *slot;
            let node = ranges.iter().find_map(|range| master_in(range, slot, seed));
            node.map(|server| (server, login.clone())).ok_or_else(|| {
                Error::new(ErrorKind::Unavailable, format!("{what} at {seed}: no node serves slot {slot} now"))
            })
        };
        match asked.await {
            Ok(found) => return Ok(vec![found]),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| unexpected_reply("connect to the cluster")))
}

/// The master of a range of slots, if `slot` lies in it.
fn master_in(range: &Value, slot: i64, seed: &ServerAddress) -> Option<ServerAddress> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(node), ..] = parts.as_slice() else {
        return None;
    };
    if !(*first..=*last).contains(&slot) {
        return None;
    }
    let [host, Value::Int(port), ..] = node.as_slice() else { return None };
    let host: String = redis::from_redis_value_ref(host).ok()?;
    let host = match (host.as_str(), seed) {
        // A node that does not know its own address means the one at which it was reached.
        ("" | "?", ServerAddress::Tcp { host, .. }) => host.clone(),
        _ => host,
    };
    Some(ServerAddress::Tcp { host, port: u16::try_from(*port).ok()? })
}
