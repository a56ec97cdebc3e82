//! Where a fault test happens: a vhost of the node that all tests of the program share, behind a proxy whose
//! connections can be cut; and the workers on it, each in its own process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apium::prelude::*;
use apium_peers::namespace::Vhost;
use apium_peers::proxy::Proxy;
use apium_peers::rabbitmq_server::RabbitmqServer;
use apium_transport::crash_points;

use crate::child::{Role, stdin_closed};
use crate::faults::kit::row::Outcome;
use crate::faults::kit::run_log::{RunLog, log_to};
use crate::faults::kit::tasks::Around;
use crate::scratch::ScratchFolder;
use crate::torture::store::wait_until;

/// So old a figure of the node may be: it counts the messages of a quorum queue once a second, and some time passes
/// until that is written down.
pub const COUNTED: Duration = Duration::from_secs(4);

/// The type of a site's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// On one node.
    Classic,
    /// Replicated.
    Quorum,
}

impl Queues {
    /// The outcome of a test on queues of each type, one after the other.
    pub async fn each<F>(test: impl Fn(Self) -> F) -> Result<Outcome, BoxError>
    where
        F: Future<Output = Result<Outcome, BoxError>>,
    {
        Ok(test(Self::Classic).await?.and(test(Self::Quorum).await?))
    }

    /// Its name, also on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// A vhost, the proxy before it, and the log of the runs in it.
#[derive(Debug)]
pub struct Site {
    /// The vhost.
    pub vhost: Vhost,
    /// What clients connect to.
    pub proxy: Arc<Proxy>,
    /// The runs.
    pub log: RunLog,
    /// After so many crashes a message goes to the dead set (`worker_max_crashes`).
    pub max_crashes: u32,
    /// The type of the queues of delays. Those of Celery are quorum queues; 28 of them take a node long, so most tests
    /// have classic ones, which lose what is on its way between two of them when the server is killed.
    pub delays: Queues,
    /// The type of its queues.
    pub queues: Queues,
    scratch: ScratchFolder,
}

impl Site {
    /// A site of its own, whose queues have this type. No message goes to the dead set for its crashes, which are
    /// counted all the same.
    pub fn new(queues: Queues) -> Result<Self, BoxError> {
        let vhost = Self::node().fresh_vhost();
        let scratch = ScratchFolder::new()?;
        let log = RunLog::open(&scratch.folder().join("runs"))?;
        let proxy = Arc::new(Proxy::to(Self::node().port()));
        Ok(Self { vhost, proxy, log, max_crashes: 1_000_000, delays: Queues::Classic, queues, scratch })
    }

    /// The node.
    pub fn node() -> &'static RabbitmqServer {
        RabbitmqServer::shared()
    }

    /// Where the log is, and whatever else a test keeps.
    pub fn folder(&self) -> &Path {
        self.scratch.folder()
    }

    /// Its address past the proxy.
    pub fn direct(&self) -> String {
        self.address(&self.vhost.url)
    }

    /// Its address behind the proxy.
    pub fn url(&self) -> String {
        self.address(&self.plain_url())
    }

    /// The same without options, as Celery reads it.
    pub fn plain_url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{}", self.proxy.port(), self.vhost.name)
    }

    fn address(&self, url: &str) -> String {
        let (queues, delays) = (self.queues.name(), self.delays.name());
        format!("{url}?queue_type={queues}&native_delayed_delivery_queue_type={delays}")
    }

    /// The builder of an app behind the proxy.
    pub fn builder(&self) -> AppBuilder {
        builder(&self.url(), self.max_crashes)
    }

    /// An app past the proxy.
    pub async fn app(&self) -> Result<App, BoxError> {
        Ok(builder(&self.direct(), self.max_crashes).build().await?)
    }

    /// The workers of this site, with so many slots each.
    pub fn crew(&self, slots: usize) -> Crew {
        Crew { url: self.url(), max_crashes: self.max_crashes, slots, log: self.log.path().to_owned() }
    }

    /// What is left in the queues whose names begin so, once nothing is sent any more.
    pub async fn left(&self, prefixes: &[&str]) -> Result<u64, BoxError> {
        let mut left = 0;
        wait_until(COUNTED, async || {
            left = self.messages_of(prefixes)?;
            Ok(left == 0)
        })
        .await?;
        Ok(left)
    }

    /// How many messages the queues hold whose names begin so, delivered ones included: now, or up to [`COUNTED`] ago.
    pub fn messages(&self, prefix: &str) -> Result<u64, BoxError> {
        self.messages_of(&[prefix])
    }

    /// The same for several beginnings.
    pub fn messages_of(&self, prefixes: &[&str]) -> Result<u64, BoxError> {
        self.count(prefixes, "messages")
    }

    /// How many messages are delivered and not acked.
    pub fn unacked(&self, prefix: &str) -> Result<u64, BoxError> {
        self.count(&[prefix], "messages_unacknowledged")
    }

    fn count(&self, prefixes: &[&str], column: &str) -> Result<u64, BoxError> {
        let args = ["list_queues", "--no-table-headers", "-p", &self.vhost.name, "name", column];
        let listed = tokio::task::block_in_place(|| Self::node().ctl(&args));
        let of_queue = |line: &str| {
            let (name, count) = line.rsplit_once(char::is_whitespace)?;
            prefixes.iter().any(|prefix| name.starts_with(prefix)).then(|| count.parse::<u64>().ok()).flatten()
        };
        Ok(listed.lines().filter_map(of_queue).sum())
    }
}

fn builder(url: &str, max_crashes: u32) -> AppBuilder {
    App::builder("faults").broker(url).setting("worker_max_crashes", max_crashes)
}

/// Starts workers of a site.
#[derive(Debug, Clone)]
pub struct Crew {
    url: String,
    max_crashes: u32,
    slots: usize,
    log: PathBuf,
}

impl Crew {
    /// Starts a worker.
    pub fn start(&self) -> Result<Role, BoxError> {
        self.start_armed("", 1)
    }

    /// Starts a worker that dies when it reaches the crash point `point` for the `times`-th time.
    pub fn start_armed(&self, point: &str, times: u32) -> Result<Role, BoxError> {
        let (most, slots, times) = (self.max_crashes.to_string(), self.slots.to_string(), times.to_string());
        let log = self.log.display().to_string();
        Ok(Role::start(&["worker", &self.url, &most, &slots, &log, point, &times])?)
    }
}

/// Runs a worker with the arguments that [`Crew::start_armed`] gave it, until standard input closes.
pub async fn role(args: &[&str]) -> Result<(), BoxError> {
    let [url, max_crashes, slots, log, point, times] = args else {
        return Err("read the arguments of a worker: it takes six".into());
    };
    log_to(Path::new(log))?;
    if !point.is_empty() {
        crash_points::arm(point, times.parse()?);
    }
    let app = builder(url, max_crashes.parse()?).build().await?;
    app.worker().concurrency(slots.parse()?).layer(Around).run_until(stdin_closed()).await?;
    Ok(app.close().await?)
}
