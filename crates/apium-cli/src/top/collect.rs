//! Asks workers and the broker for what the view shows.

use std::collections::BTreeMap;
use std::time::Duration;

use apium_app::app::app::App;
use apium_app::control::pause::PausedQueue;
use apium_app::control::queue_info::QueueInfo;
use apium_app::control::replies::Replies;
use apium_app::control::task_info::TaskInfo;
use apium_app::control::worker_stats::WorkerStats;
use apium_app::error::Result;
use apium_transport::broker::dead_set::DeadLetter;
use apium_transport::broker::queue_admin::QueueStats;

/// How many dead letters are shown.
const DEAD: usize = 200;

/// What one worker answered.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeAnswers {
    pub(super) stats: Option<WorkerStats>,
    pub(super) active: Vec<TaskInfo>,
    pub(super) reserved: usize,
    pub(super) scheduled: usize,
    pub(super) queues: Vec<String>,
}

/// What was collected at once.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) nodes: BTreeMap<String, NodeAnswers>,
    pub(super) queues: Vec<QueueStats>,
    pub(super) paused: Vec<PausedQueue>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) dead_count: u64,
    /// What could not be asked.
    pub(super) error: Option<String>,
}

/// Asks all at once. What fails is said, and the other answers are there.
pub(super) async fn collect(app: App, timeout: Duration) -> Collected {
    let mut collected = Collected::default();
    let inspect = || app.inspect().timeout(timeout);
    let (stats, active, reserved, scheduled, queues, counts, paused, dead) = futures_util::join!(
        inspect().stats().replies(),
        inspect().active().replies(),
        inspect().reserved().replies(),
        inspect().scheduled().replies(),
        inspect().active_queues().replies(),
        counts(&app),
        paused(&app),
        dead(&app),
    );
    let nodes = &mut collected.nodes;
    let mut error = None;
    each(stats, nodes, &mut error, |node, stats| node.stats = Some(stats));
    each(active, nodes, &mut error, |node, active| node.active = active);
    each(reserved, nodes, &mut error, |node, reserved: Vec<TaskInfo>| node.reserved = reserved.len());
    each(scheduled, nodes, &mut error, |node, scheduled: Vec<_>| node.scheduled = scheduled.len());
    each(queues, nodes, &mut error, |node, queues: Vec<QueueInfo>| {
        node.queues = queues.into_iter().map(|queue| queue.name).collect();
    });
    collected.queues = or_error(counts, &mut error);
    collected.paused = or_error(paused, &mut error);
    (collected.dead, collected.dead_count) = or_error(dead, &mut error);
    collected.error = error;
    collected
}

fn each<T>(
    replies: Result<Replies<T>>,
    nodes: &mut BTreeMap<String, NodeAnswers>,
    error: &mut Option<String>,
    mut take: impl FnMut(&mut NodeAnswers, T),
) {
    for reply in or_error(replies, error) {
        match reply.answer {
            Ok(answer) => take(nodes.entry(reply.node).or_default(), answer),
            Err(refused) => drop(error.get_or_insert(format!("{}: {refused}", reply.node))),
        }
    }
}

fn or_error<T: Default>(answer: Result<T>, error: &mut Option<String>) -> T {
    answer.unwrap_or_else(|failed| {
        error.get_or_insert(format!("could not {failed:#}"));
        T::default()
    })
}

async fn counts(app: &App) -> Result<Vec<QueueStats>> {
    let (broker, at) = (app.broker(), app.broker().address());
    let Some(admin) = broker.queues() else { return Ok(Vec::new()) };
    if let Some(counts) = admin.counts() {
        return Ok(app.ask(at, || counts.stats()).await?);
    }
    let mut queues = Vec::new();
    for queue in app.config().queue_names() {
        let mut stats = QueueStats::new(queue.clone());
        stats.ready = app.ask(at, || admin.depth(&queue)).await?;
        queues.push(stats);
    }
    Ok(queues)
}

async fn paused(app: &App) -> Result<Vec<PausedQueue>> {
    app.control().paused_queues().await
}

async fn dead(app: &App) -> Result<(Vec<DeadLetter>, u64)> {
    let (broker, at) = (app.broker(), app.broker().address());
    let Some(dead) = broker.dead() else { return Ok((Vec::new(), 0)) };
    Ok((app.ask(at, || dead.list(0, DEAD)).await?, app.ask(at, || dead.count()).await?))
}
