//! What 1,000 remote commands a second cost a worker that drains a queue, and whether anything is left of them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apium::prelude::*;
use apium_protocol::message::control::{ControlRequest, ReplyAddress};
use apium_transport::broker::broadcast::{BroadcastExchange, MailboxSpec};
use apium_transport::broker::outgoing::Outgoing;
use apium_transport::broker::topology::ExchangeType;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use uuid::Uuid;

use crate::quantile::median;
use crate::redis::kit::server::{Server, connect};
use crate::redis::kit::stock::Stock;
use crate::report;
use crate::speed::drained::Drained;
use crate::speed::load;
use crate::speed::worker::{self, with_slots};

/// The exchange of requests that workers listen to.
const WORKERS: &str = "celery.pidbox";
/// One that nobody listens to: the caller works as much, so a difference is the worker's.
const NOBODY: &str = "nobody.pidbox";
const REPLIES: &str = "reply.celery.pidbox";

/// So many commands are sent at once, and so often.
const AT_ONCE: u64 = 10;
const EVERY: Duration = Duration::from_millis(10);
/// How long the last replies may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Commands that were sent, and replies that came.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    sent: u64,
    answered: u64,
}

/// A caller that sends 1,000 commands a second, each with an address for the reply.
#[derive(Debug)]
struct Caller {
    /// It is set to the time for the last replies when it is to end.
    stop: Arc<OnceLock<Duration>>,
    asking: JoinHandle<Result<Asked, BoxError>>,
}

impl Caller {
    async fn start(address: &str, exchange: &'static str) -> Result<Self, BoxError> {
        let app = load::app(address, false).await?;
        let stop = Arc::new(OnceLock::new());
        #[expect(clippy::disallowed_methods, reason = "`finish` joins it")]
        let asking = tokio::spawn(ask(app, exchange, stop.clone()));
        Ok(Self { stop, asking })
    }

    /// Sends no more, waits so long for the last replies, and counts.
    async fn finish(self, patience: Duration) -> Result<Asked, BoxError> {
        self.stop.get_or_init(|| patience);
        self.asking.await?
    }
}

/// The commands of one turn: each changes or reads something else in the worker.
fn requests(exchange: &str, caller: &str) -> Vec<Outgoing> {
    let commands = ["ping", "clock", "active", "reserved", "revoked", "active_queues", "registered", "heartbeat"];
    let request = |number: u64| {
        let command = commands[number as usize % commands.len()];
        let mut request = ControlRequest::new(command, Vec::new());
        request.reply_to = Some(ReplyAddress::new(REPLIES, caller));
        request.to_message(1, 0.0)
    };
    (0..AT_ONCE).map(|number| Outgoing::new(exchange.into(), "".into(), request(number))).collect()
}

async fn ask(app: App, exchange: &'static str, stop: Arc<OnceLock<Duration>>) -> Result<Asked, BoxError> {
    let broadcast = app.broker().broadcast().ok_or("the broker has no broadcasts")?;
    let replies = BroadcastExchange::new(REPLIES, ExchangeType::Direct);
    let caller = Uuid::new_v4().to_string();
    let mut mailbox = broadcast.listen(MailboxSpec::new(replies, format!("{caller}.{REPLIES}"), &*caller)).await?;
    let to = BroadcastExchange::new(exchange, ExchangeType::Fanout);
    let batch = requests(exchange, &caller);
    let (mut asked, mut turn, mut last) = (Asked::default(), interval(EVERY), None);
    loop {
        let now = Instant::now();
        last = last.or_else(|| stop.get().map(|patience| now + *patience));
        if last.is_some_and(|end| now >= end || asked.answered >= asked.sent) {
            break;
        }
        tokio::select! {
            received = mailbox.next() => asked.answered += received?.messages.len() as u64,
            _ = turn.tick() => {
                if last.is_none() {
                    broadcast.send(&to, batch.clone()).await?;
                    asked.sent += AT_ONCE;
                }
            }
        }
    }
    drop(mailbox);
    app.close().await?;
    Ok(asked)
}

/// Drains `count` messages `rounds` times beside commands to nobody and to the worker, in turns, and asks an idle
/// worker for so long.
pub async fn measure(count: u64, rounds: usize, watch: Duration) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let stock = Stock::fill(&server, count, false).await?;
    let (mut alone, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(drain(&server, &stock, count, NOBODY).await?);
        asked.push(drain(&server, &stock, count, WORKERS).await?);
    }
    let (alone, asked) = (median(alone), median(asked));
    report::figure("control_none", alone, "/s");
    report::figure("control_asked", asked, "/s");
    report::figure("control_asked_to_none", asked / alone * 100.0, "%");
    idle(&server, watch).await
}

/// The rate of a drain beside a caller.
async fn drain(server: &Server, stock: &Stock, count: u64, exchange: &'static str) -> Result<f64, BoxError> {
    let database = stock.copy(server, count).await?;
    let caller = Caller::start(&database.url, exchange).await?;
    let mut worker = worker::start_draining(&database.url, false, count, with_slots("64"))?;
    // Reading the line blocks this thread, and the caller runs on another one.
    let (line, worker) = tokio::task::spawn_blocking(move || (worker.line(), worker)).await?;
    let drained = Drained::parse(&line?)?;
    let asked = caller.finish(Duration::ZERO).await?;
    if exchange == WORKERS {
        report::figure("control_asked_replies", asked.answered as f64, "replies");
    }
    report::figure("lost", drained.lost as f64, "tasks");
    report::figure("repeated", drained.repeated as f64, "tasks");
    if !worker.stop()? {
        return Err("the worker failed".into());
    }
    report::figure("unsettled", server.clear(&database).await?.messages as f64, "messages");
    Ok(drained.rate)
}

/// Asks a worker that has nothing else to do, first to fill what it keeps, then to see whether that grows.
async fn idle(server: &Server, watch: Duration) -> Result<(), BoxError> {
    let database = server.fresh();
    let worker = worker::start(&database.url, false)?;
    let caller = Caller::start(&database.url, WORKERS).await?;
    tokio::time::sleep(watch / 2).await;
    if caller.finish(Duration::ZERO).await?.answered == 0 {
        return Err("the worker answers no command".into());
    }
    let (memory, keys) = (worker.memory()?, keys(&database.url).await?);
    let caller = Caller::start(&database.url, WORKERS).await?;
    tokio::time::sleep(watch).await;
    let asked = caller.finish(PATIENCE).await?;
    report::figure("control_rate", asked.answered as f64 / watch.as_secs_f64(), "/s");
    report::figure("control_unanswered", asked.sent.saturating_sub(asked.answered) as f64, "commands");
    report::figure("control_growth", worker.memory()? - memory, "MB");
    report::figure("control_keys", self::keys(&database.url).await?.saturating_sub(keys) as f64, "keys");
    match worker.stop()? {
        true => Ok(()),
        false => Err("the worker failed".into()),
    }
}

/// How many keys a database has.
async fn keys(address: &str) -> Result<u64, BoxError> {
    Ok(redis::cmd("DBSIZE").query_async(&mut connect(address).await?).await?)
}
