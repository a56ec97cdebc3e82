//! Opens a connection: to the first server of the list that takes it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apium_transport::error::{Error, ErrorKind, Result};
use async_compat::{Compat, CompatExt as _};
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties};

use crate::connection::tls;
use crate::errors::{of_connecting, shown_server};
use crate::options::target::{Server, Target};

/// How often a connection that is being opened is looked at, and how long its last words are waited for.
const LOOK: Duration = Duration::from_millis(20);
const LAST_WORDS: Duration = Duration::from_millis(200);

/// An open connection.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The server, for errors.
    pub(crate) server: String,
    socket: Socket,
}

/// The socket below a connection, to end it without asking the server.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn set(&self, stream: TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// Returns a moment after the server has closed it. The client library does not always notice that while it opens
    /// the connection; if it does, it has had the time to say what the server said.
    async fn ended(&self) {
        while !self.is_ended() {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    fn is_ended(&self) -> bool {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(stream) => match stream.peek(&mut [0]) {
                Ok(waiting) => waiting == 0,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            },
            // It is not open yet.
            None => false,
        }
    }

    fn shut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Ends the socket of an attempt that was given up: its thread would wait for the server for ever.
struct ShutOnDrop(Option<Socket>);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.shut();
        }
    }
}

impl Opened {
    /// Ends the connection at once. A server that does not answer, or blocks publishers, is not asked.
    pub(crate) fn abort(&self) {
        self.socket.shut();
    }
}

/// Opens a connection with this name, which the server shows to its operator. Runs on the runtime of the connections.
pub(crate) async fn connect(target: &Target, name: &str) -> Result<Opened> {
    let config = tls::config(target.tls.as_ref())?;
    let mut failed = None;
    for server in &target.servers {
        match connect_to(target, server, name, config.clone()).await {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                // What a server refuses says more than that another one cannot be reached.
                let says_more = failed.as_ref().is_none_or(|first: &Error| first.is_retryable());
                if says_more {
                    failed = Some(error);
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Address, "connect: the address names no server")))
}

async fn connect_to(target: &Target, server: &Server, name: &str, config: OwnedTLSConfig) -> Result<Opened> {
    let uri = AMQPUri {
        scheme: if target.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: server.user.clone(), password: server.password.clone() },
            host: server.host.clone(),
            port: server.port,
        },
        vhost: target.vhost.clone(),
        query: AMQPQueryString { heartbeat: target.heartbeat, ..AMQPQueryString::default() },
    };
    let socket = Socket::default();
    let mut shut = ShutOnDrop(Some(socket.clone()));
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .configure_backoff(|backoff| backoff.with_max_times(0));
    let runtime = lapin::runtime::default_runtime().map_err(|error| of_connecting(target, server, &error))?;
    let opening = Connection::connector(uri, runtime, tcp(socket.clone(), config, target.timeout), properties);
    let connection = tokio::select! {
        biased;
        opened = opening => opened.map_err(|error| of_connecting(target, server, &error))?,
        () = socket.ended() => {
            let what = format!("connect to {server}: it closed the connection while that was opened");
            return Err(Error::new(ErrorKind::Connection, what));
        }
        () = tokio::time::sleep(target.timeout) => {
            let what = format!("connect to {server}: it did not answer within {:?}", target.timeout);
            return Err(Error::new(ErrorKind::Timeout, what));
        }
    };
    shut.0 = None;
    Ok(Opened { connection, server: shown_server(target, server), socket })
}

/// Opens the socket below a connection, and keeps a handle on it.
fn tcp<R: Send + 'static>(
    socket: Socket,
    config: OwnedTLSConfig,
    timeout: Duration,
) -> impl AsyncFn(AMQPUri, R) -> lapin::Result<AsyncTcpStream<Compat<tokio::net::TcpStream>>> + Send + Sync + 'static {
    async move |uri: AMQPUri, _runtime: R| {
        let open = async {
            let stream = tokio::net::TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
            stream.set_nodelay(true)?;
            let stream = stream.into_std()?;
            socket.set(stream.try_clone()?);
            let stream = AsyncTcpStream::Plain(tokio::net::TcpStream::from_std(stream)?.compat());
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, config.as_ref()).await,
            }
        };
        let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
        let opened: io::Result<_> = tokio::time::timeout(timeout, open).await.map_err(silent)?;
        opened.map_err(lapin::Error::from)
    }
}
