//! The rows of the lists: cells for the view, and what a key does to the row.

use apium_app::control::task_info::TaskInfo;
use apium_app::events::monitored_task::MonitoredTask;
use apium_protocol::value::printable::printable;
use apium_protocol::value::repr::repr_value;
use jiff::Timestamp;

use crate::top::model::{Model, Tab};

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Worker(String),
    Task { id: String, name: Option<String> },
    Queue { name: String, paused: bool },
    Dead { key: u64, id: Option<String> },
}

/// How a row is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) subject: Subject,
    /// As many as the list has columns.
    pub(super) cells: Vec<String>,
    pub(super) tone: Tone,
    /// All that is known, a line each.
    pub(super) details: Vec<String>,
}

impl Row {
    fn new(subject: Subject, cells: Vec<String>, tone: Tone) -> Self {
        // What was sent by others neither moves the cursor nor begins a line.
        let cells = cells.into_iter().map(|cell| printable(cell).to_string()).collect();
        Self { subject, cells, tone, details: Vec::new() }
    }

    fn with_details(mut self, details: Vec<(&str, Option<String>)>) -> Self {
        let known = details.into_iter().filter_map(|(name, text)| Some((name, text?)));
        self.details = known
            .flat_map(|(name, text)| {
                let lines: Vec<String> = text.lines().map(|line| printable(line).to_string()).collect();
                lines.into_iter().enumerate().map(move |(index, line)| match index {
                    0 => format!("{name:<12} {line}"),
                    _ => format!("{:<12} {line}", ""),
                })
            })
            .collect();
        self
    }

    /// Whether a cell has this text, in whatever case.
    pub(super) fn contains(&self, lower: &str) -> bool {
        self.cells.iter().any(|cell| cell.to_lowercase().contains(lower))
    }
}

/// The headings of a list, each with its least width; 0 takes what is left.
pub(super) fn headings(tab: Tab) -> &'static [(&'static str, u16)] {
    match tab {
        Tab::Workers => &[
            ("worker", 0),
            ("state", 7),
            ("run", 5),
            ("wait", 5),
            ("eta", 5),
            ("done", 8),
            ("ok", 7),
            ("fail", 6),
            ("load", 5),
        ],
        Tab::Tasks => &[("state", 9), ("task", 20), ("id", 12), ("worker", 14), ("time", 8), ("arguments", 0)],
        Tab::Queues => &[("queue", 14), ("ready", 8), ("unacked", 8), ("delayed", 8), ("workers", 7), ("paused", 0)],
        Tab::Dead => &[("key", 6), ("at", 14), ("queue", 10), ("task", 16), ("reason", 0)],
    }
}

/// The rows of the tab that is shown.
pub(super) fn of(model: &Model) -> Vec<Row> {
    match model.tab {
        Tab::Workers => workers(model),
        Tab::Tasks => tasks(model),
        Tab::Queues => queues(model),
        Tab::Dead => dead(model),
    }
}

fn workers(model: &Model) -> Vec<Row> {
    let row = |name: &str| {
        let answers = model.nodes.get(name).map(|(answers, _)| answers);
        let events = model.fleet.worker(name);
        let is_alive = model.is_alive(name);
        let stats = answers.and_then(|answers| answers.stats.as_ref());
        let count = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let active =
            answers.map(|answers| answers.active.len()).or(events.and_then(|worker| Some(worker.active? as usize)));
        let processed = stats.map(|stats| stats.accepted()).or(events.and_then(|worker| worker.processed));
        let ends = model.ends.get(name);
        let load = events.and_then(|worker| worker.loadavg).map(|load| format!("{:.2}", load[0]));
        let cells = vec![
            name.to_owned(),
            if is_alive { "online" } else { "offline" }.to_owned(),
            count(active),
            count(answers.map(|answers| answers.reserved)),
            count(answers.map(|answers| answers.scheduled)),
            processed.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            ends.map_or_else(|| "-".to_owned(), |(succeeded, _)| succeeded.to_string()),
            ends.map_or_else(|| "-".to_owned(), |(_, failed)| failed.to_string()),
            load.unwrap_or_else(|| "-".to_owned()),
        ];
        let tone = if is_alive { Tone::Good } else { Tone::Bad };
        let software = events.and_then(|worker| {
            Some(format!("{} {}", worker.sw_ident.as_deref()?, worker.sw_ver.as_deref().unwrap_or_default()))
        });
        let pid = stats.and_then(|stats| stats.pid).or(events.and_then(|worker| worker.pid.map(u64::from)));
        let pool = stats.and_then(|stats| {
            let slots = stats.pool.max_concurrency.map_or_else(String::new, |slots| format!(", {slots} at once"));
            Some(format!("{}{slots}", stats.pool.implementation.as_deref()?))
        });
        let totals = stats.map(|stats| {
            stats.total.iter().map(|(task, count)| format!("{task} {count}")).collect::<Vec<_>>().join("\n")
        });
        Row::new(Subject::Worker(name.to_owned()), cells, tone).with_details(vec![
            ("worker", Some(name.to_owned())),
            ("software", software),
            ("process", pid.map(|pid| pid.to_string())),
            ("pool", pool),
            ("up for", stats.and_then(|stats| stats.uptime).map(|uptime| span(uptime.as_secs_f64()))),
            ("prefetch", stats.and_then(|stats| stats.prefetch_count).map(|count| count.to_string())),
            ("queues", answers.map(|answers| answers.queues.join(", "))),
            ("accepted", totals.filter(|totals| !totals.is_empty())),
        ])
    };
    model.workers().into_iter().map(row).collect()
}

/// The tasks that run, the oldest first; then those of which events tell, the last one first.
fn tasks(model: &Model) -> Vec<Row> {
    let mut active: Vec<&TaskInfo> = model.nodes.values().flat_map(|(answers, _)| &answers.active).collect();
    active.sort_by_key(|task| task.time_start.unwrap_or(Timestamp::MAX));
    let mut rows: Vec<Row> = active.iter().map(|task| active_row(task, model.now)).collect();
    let is_active = |task: &MonitoredTask| active.iter().any(|other| *other.id.as_str() == *task.uuid);
    let of_events = model.fleet.tasks_by_time();
    rows.extend(of_events.into_iter().filter(|task| !is_active(task)).map(|task| monitored_row(task, model.now)));
    rows
}

fn active_row(task: &TaskInfo, now: Timestamp) -> Row {
    let age = task.time_start.map(|start| now.duration_since(start).as_secs_f64().max(0.0));
    let text = |json: &apium_protocol::json::text::Json| match json.decode::<String>() {
        Ok(text) => text,
        Err(_) => repr_value(json),
    };
    let (args, kwargs) = (text(&task.args), text(&task.kwargs));
    let cells = vec![
        "RUNNING".to_owned(),
        task.name.clone(),
        task.id.to_string(),
        task.hostname.clone(),
        age.map_or_else(|| "-".to_owned(), span),
        format!("{args} {kwargs}"),
    ];
    let subject = Subject::Task { id: task.id.to_string(), name: Some(task.task.clone()) };
    Row::new(subject, cells, Tone::Good).with_details(vec![
        ("task", Some(task.name.clone())),
        ("id", Some(task.id.to_string())),
        ("worker", Some(task.hostname.clone())),
        ("since", task.time_start.map(|start| format!("{start:.0}"))),
        ("queue", Some(task.routing_key.clone())),
        ("process", task.worker_pid.map(|pid| pid.to_string())),
        ("arguments", Some(args)),
        ("keywords", Some(kwargs)),
    ])
}

fn monitored_row(task: &MonitoredTask, now: Timestamp) -> Row {
    let state = task.state.to_string();
    let tone = match state.as_str() {
        "SUCCESS" => Tone::Plain,
        "FAILURE" | "REVOKED" | "REJECTED" => Tone::Bad,
        "STARTED" | "RETRY" => Tone::Good,
        _ => Tone::Faint,
    };
    let since = |seconds: f64| now.as_microsecond() as f64 / 1e6 - seconds;
    let time = task.runtime.or_else(|| match task.is_ready() {
        true => None,
        false => task.started.or(task.received).or(task.sent).map(|seconds| since(seconds).max(0.0)),
    });
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let what = task
        .exception
        .clone()
        .or_else(|| Some(format!("{} {}", task.args.as_deref()?, task.kwargs.as_deref().unwrap_or_default())));
    let cells = vec![
        state,
        or_dash(task.name.as_deref()),
        task.uuid.to_string(),
        or_dash(task.worker.as_deref()),
        time.map_or_else(|| "-".to_owned(), span),
        what.unwrap_or_default(),
    ];
    let subject = Subject::Task { id: task.uuid.to_string(), name: task.name.as_deref().map(str::to_owned) };
    Row::new(subject, cells, tone).with_details(vec![
        ("task", task.name.as_deref().map(str::to_owned)),
        ("id", Some(task.uuid.to_string())),
        ("state", Some(task.state.to_string())),
        ("worker", task.worker.as_deref().map(str::to_owned)),
        ("caller", task.client.as_deref().map(str::to_owned)),
        ("arguments", task.args.clone()),
        ("keywords", task.kwargs.clone()),
        ("retries", task.retries.map(|retries| retries.to_string())),
        ("root", task.root_id.as_deref().map(str::to_owned)),
        ("parent", task.parent_id.as_deref().map(str::to_owned)),
        ("run time", task.runtime.map(span)),
        ("result", task.result.clone()),
        ("exception", task.exception.clone()),
        ("traceback", task.traceback.clone()),
    ])
}

fn queues(model: &Model) -> Vec<Row> {
    let row = |queue: &apium_transport::broker::queue_admin::QueueStats| {
        let paused = model.paused.get(&queue.queue);
        let in_words = paused.map(|paused| match paused.reason.as_str() {
            "" => format!("by {}", paused.by),
            reason => format!("{reason} (by {})", paused.by),
        });
        let mut cells = vec![queue.queue.clone()];
        cells.extend([queue.ready, queue.unacked, queue.delayed, queue.consumers].iter().map(u64::to_string));
        cells.push(in_words.clone().unwrap_or_default());
        let tone = match (paused, queue.ready > 0 && queue.consumers == 0) {
            (Some(_), _) => Tone::Faint,
            (None, true) => Tone::Bad,
            (None, false) => Tone::Plain,
        };
        let subject = Subject::Queue { name: queue.queue.clone(), paused: paused.is_some() };
        Row::new(subject, cells, tone).with_details(vec![
            ("queue", Some(queue.queue.clone())),
            ("ready", Some(queue.ready.to_string())),
            ("unacked", Some(queue.unacked.to_string())),
            ("delayed", Some(queue.delayed.to_string())),
            ("workers", Some(queue.consumers.to_string())),
            ("paused", in_words),
            ("since", paused.map(|paused| format!("{:.0}", paused.since))),
        ])
    };
    model.queues.iter().map(row).collect()
}

fn dead(model: &Model) -> Vec<Row> {
    let row = |letter: &apium_transport::broker::dead_set::DeadLetter| {
        let cells = vec![
            letter.key.to_string(),
            letter.at.strftime("%m-%d %H:%M:%S").to_string(),
            letter.queue.clone(),
            letter.task.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}: {}", letter.code, letter.reason),
        ];
        let subject = Subject::Dead { key: letter.key, id: letter.task_id.clone() };
        Row::new(subject, cells, Tone::Plain).with_details(vec![
            ("key", Some(letter.key.to_string())),
            ("at", Some(letter.at.to_string())),
            ("queue", Some(letter.queue.clone())),
            ("task", letter.task.clone()),
            ("id", letter.task_id.clone()),
            ("reason", Some(format!("{}: {}", letter.code, letter.reason))),
        ])
    };
    model.dead.iter().map(row).collect()
}

/// `0.25s`, `12.3s`, `4m05s`, `3h20m`, `2d04h`.
fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.2}s"),
        10..60 => format!("{seconds:.1}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_two_units_at_most() {
        let spans = [0.25, 12.34, 245.0, 12_000.0, 187_200.0, -1.0].map(span);
        assert_eq!(spans, ["0.25s", "12.3s", "4m05s", "3h20m", "2d04h", "-1.00s"]);
    }
}
