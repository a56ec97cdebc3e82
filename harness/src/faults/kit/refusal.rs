//! A server that refuses: it answers, with an error.

use std::fs;
use std::time::Duration;

use apium::prelude::BoxError;
use apium_peers::port;
use apium_peers::redis_server::RedisServer;

use crate::faults::kit::look::Look;
use crate::torture::store::wait_until;

/// The user of the workers. The test itself is another one, which nothing is taken from.
const USER: &str = "worker";

/// How long the server may take to save.
const SAVE: Duration = Duration::from_secs(20);

/// `proto-max-bulk-len`: the smallest that Redis allows.
pub const LARGEST: usize = 1024 * 1024;

/// What the server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is out of memory (OOM).
    Memory,
    /// It cannot save (MISCONF).
    Save,
    /// It became a replica (READONLY).
    Replica,
    /// The user of the workers may not use the keys (NOPERM).
    Keys,
    /// The user of the workers may not write (NOPERM).
    Commands,
}

/// All of them.
pub const REFUSALS: [Refusal; 5] = [Refusal::Memory, Refusal::Save, Refusal::Replica, Refusal::Keys, Refusal::Commands];

impl Refusal {
    /// Its name in a row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "OOM",
            Self::Save => "MISCONF",
            Self::Replica => "READONLY",
            Self::Keys => "NOPERM for keys",
            Self::Commands => "NOPERM for writes",
        }
    }

    /// Whether workers can do nothing meanwhile, and are unhealthy. A full memory stops only those that publish: what
    /// is in queues already is run and settled.
    pub fn stops_workers(self) -> bool {
        self != Self::Memory
    }
}

/// A server that can be made to refuse.
#[derive(Debug)]
pub struct RefusingServer {
    server: RedisServer,
    look: Look,
}

impl RefusingServer {
    /// Starts one that refuses only what is larger than [`LARGEST`].
    pub fn start() -> Result<Self, BoxError> {
        // Without a rule for saving, a failed save refuses nothing.
        let args = ["--save", "3600 1000000", "--proto-max-bulk-len", &LARGEST.to_string()];
        let server = RedisServer::builder().args(args).start();
        let mut look = Look::at(&server.url(0))?;
        look.ask::<String>(&["ACL", "SETUSER", USER, "on", &format!(">{USER}"), "~*", "&*", "+@all"])?;
        Ok(Self { server, look })
    }

    /// The address for the test.
    pub fn url(&self) -> String {
        self.server.url(0)
    }

    /// The address for workers.
    pub fn worker_url(&self) -> String {
        format!("redis://{USER}:{USER}@127.0.0.1:{}/0", self.server.port())
    }

    /// A connection of the test.
    pub fn look(&mut self) -> &mut Look {
        &mut self.look
    }

    /// Lets it refuse.
    pub async fn begin(&mut self, refusal: Refusal) -> Result<(), BoxError> {
        match refusal {
            Refusal::Memory => self.ask(&["CONFIG", "SET", "maxmemory", "1"]),
            Refusal::Save => {
                let file = self.server.directory().join("dump.rdb");
                // There may be none yet.
                let _ = fs::remove_file(&file);
                fs::create_dir(&file)?;
                self.save(false).await
            }
            Refusal::Replica => self.ask(&["REPLICAOF", "127.0.0.1", &port::free().to_string()]),
            Refusal::Keys => self.ask(&["ACL", "SETUSER", USER, "resetkeys"]),
            Refusal::Commands => self.ask(&["ACL", "SETUSER", USER, "-@write"]),
        }
    }

    /// Ends what [`begin`](Self::begin) began.
    pub async fn end(&mut self, refusal: Refusal) -> Result<(), BoxError> {
        match refusal {
            Refusal::Memory => self.ask(&["CONFIG", "SET", "maxmemory", "0"]),
            Refusal::Save => {
                fs::remove_dir(self.server.directory().join("dump.rdb"))?;
                self.save(true).await
            }
            Refusal::Replica => self.ask(&["REPLICAOF", "NO", "ONE"]),
            Refusal::Keys => self.ask(&["ACL", "SETUSER", USER, "~*"]),
            Refusal::Commands => self.ask(&["ACL", "SETUSER", USER, "+@all"]),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<(), BoxError> {
        self.look.ask::<String>(words).map(drop)
    }

    /// Saves, which must succeed or fail.
    async fn save(&mut self, succeeds: bool) -> Result<(), BoxError> {
        self.ask(&["BGSAVE"])?;
        let wanted = if succeeds { "rdb_last_bgsave_status:ok" } else { "rdb_last_bgsave_status:err" };
        let look = &mut self.look;
        let saved = wait_until(SAVE, async || {
            let text: String = look.ask(&["INFO", "persistence"])?;
            Ok(text.contains("rdb_bgsave_in_progress:0") && text.contains(wanted))
        });
        if saved.await? { Ok(()) } else { Err(format!("save: the server does not report {wanted}").into()) }
    }
}
