//! A Redis server for one process: on a free port, in a private directory. It ends with the process that started it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::directory;
use crate::guarded::Guarded;
use crate::log::Seen;
use crate::namespace::Database;
use crate::port;

/// How long a server may take to start, or to stop.
const LIMIT: Duration = Duration::from_secs(30);

/// How many databases a server has. An unused one costs a few hundred bytes. No number is used twice.
const DATABASES: u32 = 20_000;

/// The environment variable that names another server than `redis-server`, by name or path: `valkey-server`.
pub const PROGRAM: &str = "APIUM_REDIS_SERVER";

/// The program that is started.
pub fn program() -> OsString {
    std::env::var_os(PROGRAM).filter(|name| !name.is_empty()).unwrap_or_else(|| "redis-server".into())
}

/// Builds a server.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    port: Option<u16>,
    password: Option<String>,
    args: Vec<OsString>,
    sentinel: Option<String>,
}

impl Builder {
    /// Adds an argument of the server, as on its command line (`--maxmemory`, `1mb`). It overrides the defaults of this
    /// builder. Relative paths start at [`RedisServer::directory`].
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the port, whether it is free or not.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets a password, which [`RedisServer::url`] then contains.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Starts a sentinel with this configuration instead of a server.
    #[must_use]
    pub fn sentinel(mut self, configuration: &str) -> Self {
        self.sentinel = Some(configuration.to_owned());
        self
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(self) -> RedisServer {
        RedisServer::open(self).unwrap_or_else(|error| panic!("could not start {}: {error}", program().display()))
    }
}

/// A running server. When dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct RedisServer {
    builder: Builder,
    port: u16,
    directory: PathBuf,
    running: Mutex<Guarded>,
    databases: AtomicU32,
}

impl RedisServer {
    /// Starts a server without persistence.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Builds a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server that all tests of this process share. The first call starts it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn open(builder: Builder) -> Result<Self, String> {
        let directory = directory::private()?;
        let mut attempts = 5;
        loop {
            let port = builder.port.unwrap_or_else(port::free);
            match run(&builder, port, &directory) {
                Ok(guarded) => {
                    let running = Mutex::new(guarded);
                    return Ok(Self { builder, port, directory, running, databases: AtomicU32::new(0) });
                }
                // Another process took the port.
                Err(error) if error.contains("Address already in use") && builder.port.is_none() && attempts > 0 => {
                    attempts -= 1;
                }
                Err(error) => {
                    // It is empty, and no other test uses it.
                    let _ = std::fs::remove_dir_all(&directory);
                    return Err(error);
                }
            }
        }
    }

    /// The address of a database.
    pub fn url(&self, database: u32) -> String {
        let password = self.builder.password.as_ref().map(|word| format!(":{word}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}/{database}", self.port)
    }

    /// A database that no other caller gets.
    pub fn fresh_database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < DATABASES, "could not give out a database: all {DATABASES} of the server are used");
        Database { url: self.url(number), number }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, with its files and sockets.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.lock().pid()
    }

    /// What it has printed since its last start.
    pub fn log(&self) -> String {
        self.lock().log().text()
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub fn kill(&self) {
        self.end("KILL");
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub fn stop(&self) {
        self.end("TERM");
    }

    /// Kills it if it runs, and starts it again on the same port and in the same directory. It is empty unless its
    /// arguments turn on persistence.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let mut running = self.lock();
        let next = run(&self.builder, self.port, &self.directory)
            .unwrap_or_else(|error| panic!("could not start {} again: {error}", program().display()));
        std::mem::replace(&mut *running, next).keep_directory();
    }

    /// Freezes it; its connections stay open.
    pub fn pause(&self) {
        self.lock().signal("STOP");
    }

    /// Lets it run again.
    pub fn resume(&self) {
        self.lock().signal("CONT");
    }

    #[track_caller]
    fn end(&self, signal: &str) {
        let mut running = self.lock();
        running.signal(signal);
        // A frozen server gets the signal when it runs again.
        running.signal("CONT");
        let ended = running.wait(LIMIT);
        assert!(ended.is_some(), "could not end the server with {signal}; its log:\n{}", running.log().text());
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A database of the shared server that no other caller gets.
pub fn fresh_database() -> Database {
    RedisServer::shared().fresh_database()
}

/// Starts a server and waits until it answers.
fn run(builder: &Builder, port: u16, directory: &Path) -> Result<Guarded, String> {
    let mut guarded = Guarded::start(&command(builder, port, directory)?, Some(directory))
        .map_err(|error| format!("start a shell: {error}"))?;
    match guarded.log().wait_for(&["Ready to accept connections", "Sentinel ID is"], LIMIT) {
        Seen::Line => match answer(port) {
            Ok(()) => Ok(guarded),
            Err(error) => Err(failed(guarded, &format!("it does not answer on port {port}: {error}"))),
        },
        Seen::End => {
            let missing = guarded.wait(LIMIT).and_then(|status| status.code()) == Some(127);
            let advice = if missing { "it is not installed, and `cargo xtask peers` installs it" } else { "it ended" };
            Err(failed(guarded, advice))
        }
        Seen::Nothing => Err(failed(guarded, "it is not ready after 30 seconds")),
    }
}

/// Ends a server that could not be started; the error, with what it printed.
fn failed(guarded: Guarded, why: &str) -> String {
    let text = guarded.log().text();
    guarded.keep_directory();
    format!("{why}; its log:\n{text}")
}

fn command(builder: &Builder, port: u16, directory: &Path) -> Result<Command, String> {
    let mut command = Command::new(program());
    command.current_dir(directory);
    if let Some(configuration) = &builder.sentinel {
        // A sentinel writes what it learns into its configuration.
        let file = directory.join("sentinel.conf");
        if !file.exists() {
            std::fs::write(&file, configuration).map_err(|error| format!("write {}: {error}", file.display()))?;
        }
        command.arg(file).arg("--sentinel");
    } else {
        command.args(["--save", "", "--appendonly", "no", "--databases", &DATABASES.to_string()]);
    }
    command.args(["--bind", "127.0.0.1", "--protected-mode", "no", "--daemonize", "no"]);
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(directory);
    if let Some(password) = &builder.password {
        command.args(["--requirepass", password]);
    }
    command.args(&builder.args);
    Ok(command)
}

/// Whether a server answers PING. That it asks for a password is an answer, too.
fn answer(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"PING\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.trim_end() {
        "+PONG" => Ok(()),
        refused if refused.starts_with("-NOAUTH") => Ok(()),
        other => Err(std::io::Error::other(format!("it answered {other:?} to PING"))),
    }
}
