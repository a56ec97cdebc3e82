//! A RabbitMQ node for one process: on free ports, with its own port mapper (epmd), in a private directory. It ends
//! with the process that started it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::directory;
use crate::guarded::Guarded;
use crate::log::Seen;
use crate::namespace::{Vhost, Vhosts};
use crate::port;

/// How long a node may take to start, or to stop. On a busy machine it takes many seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// The environment variable that names the folder of `rabbitmq-server` and `rabbitmqctl`. The programs in the path of
/// Debian change the user, so they are not taken.
pub const FOLDER: &str = "APIUM_RABBITMQ_BIN";

/// The folder of the programs.
pub fn folder() -> PathBuf {
    let named = std::env::var_os(FOLDER).filter(|name| !name.is_empty());
    named.unwrap_or_else(|| OsString::from("/usr/lib/rabbitmq/bin")).into()
}

/// Starts the port mapper and becomes the server. The port mapper keeps no stream open, so that the log ends with the
/// server.
const BOTH: &str = r#"epmd -port "$ERL_EPMD_PORT" </dev/null >/dev/null 2>&1 & exec "$1""#;

/// Builds a node.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    configuration: String,
}

impl Builder {
    /// Adds a line of `rabbitmq.conf`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.configuration.push_str(line);
        self.configuration.push('\n');
        self
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(self) -> RabbitmqServer {
        RabbitmqServer::open(self).unwrap_or_else(|error| panic!("could not start rabbitmq-server: {error}"))
    }
}

/// The ports of a node.
#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    distribution: u16,
    mapper: u16,
}

/// A running node. When dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct RabbitmqServer {
    builder: Builder,
    ports: Ports,
    directory: PathBuf,
    running: Mutex<Option<Guarded>>,
    vhosts: Vhosts,
}

impl RabbitmqServer {
    /// Starts a node.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Builds a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The node that all tests of this process share. The first call starts it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitmqServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn open(builder: Builder) -> Result<Self, String> {
        let directory = directory::private()?;
        let mut attempts = 5;
        loop {
            let ports = Ports { amqp: port::free(), distribution: port::free(), mapper: port::free() };
            match run(&builder, ports, &directory) {
                Ok(guarded) => {
                    let running = Mutex::new(Some(guarded));
                    return Ok(Self { builder, ports, directory, running, vhosts: Vhosts::default() });
                }
                // Another process took a port.
                Err(error) if error.contains("eaddrinuse") && attempts > 0 => attempts -= 1,
                Err(error) => {
                    // No other test uses it.
                    let _ = std::fs::remove_dir_all(&directory);
                    return Err(error);
                }
            }
        }
    }

    /// Its port for AMQP.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The process identifier of its main process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Guarded::pid)
    }

    /// The address of a vhost, for Celery's default user.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.ports.amqp)
    }

    /// A vhost that no other caller gets. Making one takes long, so several are made at once.
    #[track_caller]
    pub fn fresh_vhost(&self) -> Vhost {
        let name = self.vhosts.take(|expression| self.eval(expression));
        Vhost { url: self.url(&name), name }
    }

    /// Its directory, with its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has printed since its last start.
    pub fn log(&self) -> String {
        self.lock().as_ref().map(|guarded| guarded.log().text()).unwrap_or_default()
    }

    /// Runs `rabbitmqctl` with these arguments; what it printed.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(folder().join("rabbitmqctl"));
        environment(&mut command, self.ports, &self.directory);
        let out = command.arg("--quiet").args(args).output();
        let out = out.unwrap_or_else(|error| panic!("could not start rabbitmqctl: {error}"));
        let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "could not run rabbitmqctl {}: {text}{error}", args.join(" "));
        text.into_owned()
    }

    /// Evaluates an expression of Erlang in the node; what `rabbitmqctl` printed.
    #[track_caller]
    pub fn eval(&self, expression: &str) -> String {
        self.ctl(&["eval", expression])
    }

    /// Closes all connections of clients, as an operator does it.
    #[track_caller]
    pub fn close_connections(&self) {
        let close = "rabbit_networking:close_connection(Pid, \"closed by a test\")";
        self.eval(&format!("[{close} || Pid <- rabbit_networking:local_connections()]."));
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

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), with the same ports and data.
    #[track_caller]
    pub fn start_again(&self) {
        let mut running = self.lock();
        // Its port mapper ends with it.
        if let Some(ended) = running.take() {
            ended.keep_directory();
        }
        let next = run(&self.builder, self.ports, &self.directory);
        *running = Some(next.unwrap_or_else(|error| panic!("could not start rabbitmq-server again: {error}")));
    }

    /// Kills it and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        self.start_again();
    }

    /// Freezes it; its connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it run again.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(guarded) = self.lock().as_mut() {
            guarded.signal(name);
        }
    }

    #[track_caller]
    fn end(&self, signal: &str) {
        let mut running = self.lock();
        let Some(guarded) = running.as_mut() else { return };
        guarded.signal(signal);
        // A frozen node gets the signal when it runs again.
        guarded.signal("CONT");
        let ended = guarded.wait(LIMIT);
        assert!(ended.is_some(), "could not end the node with {signal}; its log:\n{}", guarded.log().text());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A vhost of the shared node that no other caller gets.
#[track_caller]
pub fn fresh_vhost() -> Vhost {
    RabbitmqServer::shared().fresh_vhost()
}

/// Starts a node and waits until it answers.
fn run(builder: &Builder, ports: Ports, directory: &Path) -> Result<Guarded, String> {
    let mut guarded = Guarded::start(&command(builder, ports, directory)?, Some(directory))
        .map_err(|error| format!("start a shell: {error}"))?;
    match guarded.log().wait_for(&["Server startup complete"], LIMIT) {
        Seen::Line => match answer(ports.amqp) {
            Ok(()) => Ok(guarded),
            Err(error) => Err(failed(guarded, &format!("it does not answer on port {}: {error}", ports.amqp))),
        },
        Seen::End => {
            let missing = guarded.wait(LIMIT).and_then(|status| status.code()) == Some(127);
            let advice = if missing { "it is not installed, and `cargo xtask peers` installs it" } else { "it ended" };
            Err(failed(guarded, advice))
        }
        Seen::Nothing => Err(failed(guarded, "it is not ready after two minutes")),
    }
}

/// Ends a node that could not be started; the error, with what it printed.
fn failed(guarded: Guarded, why: &str) -> String {
    let text = guarded.log().text();
    guarded.keep_directory();
    format!("{why}; its log:\n{text}")
}

fn command(builder: &Builder, ports: Ports, directory: &Path) -> Result<Command, String> {
    let attempt = |path: &Path, error: std::io::Error| format!("write {}: {error}", path.display());
    let configuration = directory.join("rabbitmq.conf");
    let lines = format!(
        "listeners.tcp.default = 127.0.0.1:{}\nloopback_users = none\nlog.console = true\nlog.console.level = info\n\
         log.file = false\ndisk_free_limit.absolute = 1MB\ncollect_statistics_interval = 60000\n{}",
        ports.amqp, builder.configuration
    );
    std::fs::write(&configuration, lines).map_err(|error| attempt(&configuration, error))?;
    let plugins = directory.join("enabled_plugins");
    std::fs::write(&plugins, "[].\n").map_err(|error| attempt(&plugins, error))?;
    let cookie = directory.join(".erlang.cookie");
    if !cookie.exists() {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o400).open(&cookie);
        let written = file.and_then(|mut file| file.write_all(b"apium-of-the-tests"));
        written.map_err(|error| attempt(&cookie, error))?;
    }
    let mut command = Command::new("sh");
    command.args(["-c", BOTH, "node"]).arg(folder().join("rabbitmq-server")).current_dir(directory);
    environment(&mut command, ports, directory);
    command.env("RABBITMQ_CONFIG_FILE", configuration.with_extension("")).env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins);
    // The script becomes the node, so that a signal reaches it, and its threads fit a small machine. After a kill, it
    // moves on what was on its way between two quorum queues after five seconds, and not after three minutes.
    // It counts the messages of a quorum queue every second, and not every five.
    command.env("RUNNING_UNDER_SYSTEMD", "true");
    command.env(
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
        "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none \
         -rabbit dead_letter_worker_publisher_confirm_timeout 5000 quorum_tick_interval 1000",
    );
    Ok(command)
}

/// What both the node and `rabbitmqctl` need.
fn environment(command: &mut Command, ports: Ports, directory: &Path) {
    command.env("HOME", directory).env("RABBITMQ_NODENAME", "apium@localhost");
    command.env("RABBITMQ_MNESIA_BASE", directory.join("data")).env("RABBITMQ_LOG_BASE", directory.join("log"));
    command.env("RABBITMQ_CONF_ENV_FILE", directory.join("none")).env("ERL_EPMD_PORT", ports.mapper.to_string());
    command.env("RABBITMQ_DIST_PORT", ports.distribution.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    command.env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8").env_remove("NOTIFY_SOCKET");
}

/// Whether a node answers the header of the protocol.
fn answer(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    // The first method frame.
    if first == [1] { Ok(()) } else { Err(std::io::Error::other(format!("it answered {first:?}"))) }
}
