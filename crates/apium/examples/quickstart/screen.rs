//! The output while tasks run: progress bars on a terminal, otherwise a line for each change of state, or of many files
//! one for each tenth of them.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use apium::prelude::*;
use apium::result::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How many files have lines of their own.
const FILES_WITH_LINES: usize = 50;

/// A change of a task's state, from `on_message`.
pub(crate) struct Change {
    /// The task's id.
    pub(crate) id: String,
    /// Its state.
    pub(crate) state: TaskState,
    /// What is stored with the state: the progress, the value or the error.
    pub(crate) detail: serde_json::Value,
}

impl Change {
    /// The change in a result document.
    pub(crate) fn of(document: &ResultDocument) -> Self {
        let detail = document.result.decode().unwrap_or_default();
        Self { id: document.task_id.to_string(), state: document.state.clone(), detail }
    }
}

/// Shows the tasks of a run.
pub(crate) struct Screen {
    /// The label of each task, by its id.
    labels: HashMap<String, Label>,
    /// How many files were counted at the last progress.
    counted: Option<u64>,
    /// Whether each change of a file has a line, where there are no bars.
    has_file_lines: bool,
    bars: Option<Bars>,
}

struct Label {
    text: String,
    is_file: bool,
    has_ended: bool,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    running: HashMap<String, ProgressBar>,
}

impl Screen {
    /// A screen for these files and single tasks (ids with labels).
    pub(crate) fn new(files: Vec<(String, String)>, singles: &[(String, String)]) -> Self {
        let label = |text: String, is_file| Label { text, is_file, has_ended: false };
        let count = files.len();
        let mut labels: HashMap<_, _> = files.into_iter().map(|(id, text)| (id, label(text, true))).collect();
        labels.extend(singles.iter().map(|(text, id)| (id.clone(), label(text.clone(), false))));
        let bars = std::io::stdout().is_terminal().then(|| Bars::new(count));
        Self { labels, counted: None, has_file_lines: count <= FILES_WITH_LINES, bars }
    }

    /// Prints a line above the bars.
    pub(crate) fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Shows a change.
    pub(crate) fn show(&mut self, change: &Change) {
        let Some(label) = self.labels.get_mut(&change.id) else { return };
        if label.has_ended {
            return;
        }
        label.has_ended = change.state.is_ready();
        let line = format!("{:<8}  {}  {}", change.state.as_str(), label.text, detail(change, label.is_file));
        match &mut self.bars {
            Some(bars) => bars.show(change, label, &line),
            None if self.has_file_lines || !label.is_file => say(line.trim_end()),
            None => {}
        }
    }

    /// Shows how many files are counted.
    pub(crate) fn progress(&mut self, progress: Progress) {
        let Progress { done, total, .. } = progress;
        if let Some(bars) = &self.bars {
            bars.total.set_position(done);
        }
        let half = total.div_ceil(2);
        let tenth = |counted: u64| counted * 10 / total.max(1);
        if self.counted.is_some_and(|before| before < half) && (half..total).contains(&done) {
            self.say(&format!("half-way: {done} of {total} files are counted"));
        } else if self.bars.is_none()
            && !self.has_file_lines
            && self.counted.is_some_and(|before| tenth(before) < tenth(done))
        {
            self.say(&format!("{done} of {total} files are counted"));
        }
        self.counted = Some(done);
    }

    /// Removes the bars.
    pub(crate) fn close(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.total.finish_and_clear();
            for bar in bars.running.into_values() {
                bar.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn new(files: usize) -> Self {
        let all = MultiProgress::new();
        let total =
            all.add(ProgressBar::new(files as u64).with_style(style("{bar:40.green/dim} {pos}/{len} files {msg}")));
        Self { all, total, running: HashMap::new() }
    }

    fn show(&mut self, change: &Change, label: &Label, line: &str) {
        if !label.is_file {
            self.single(change, label, line);
            return;
        }
        if label.has_ended {
            if let Some(bar) = self.running.remove(&change.id) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = self.running.entry(change.id.clone()).or_insert_with(|| {
            let style = style("{bar:40.cyan/dim} {pos:>5}/{len:<5} lines of {msg}");
            self.all.insert_before(&self.total, ProgressBar::new(1).with_style(style).with_message(label.text.clone()))
        });
        if let (Some(current), Some(total)) = (change.detail["current"].as_u64(), change.detail["total"].as_u64()) {
            bar.set_length(total);
            bar.set_position(current);
        }
    }

    /// Shows a single task: a spinner until it has ended, then a line.
    fn single(&mut self, change: &Change, label: &Label, line: &str) {
        if label.has_ended {
            if let Some(sign) = self.running.remove(&change.id) {
                sign.finish_and_clear();
            }
            self.all.suspend(|| say(line));
            return;
        }
        let sign = self.running.entry(change.id.clone()).or_insert_with(|| {
            let sign =
                self.all.insert_before(&self.total, ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
            sign.enable_steady_tick(std::time::Duration::from_millis(100));
            sign
        });
        sign.set_message(line.trim_end().to_owned());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The details of a state, in few words.
fn detail(change: &Change, is_file: bool) -> String {
    let value = &change.detail;
    match &change.state {
        TaskState::Custom(_) => format!("{} of {} lines", value["current"], value["total"]),
        TaskState::Success => match value {
            serde_json::Value::Object(words) if is_file => format!("{} different words", words.len()),
            serde_json::Value::Object(totals) => format!("{} words in {} files", totals["words"], totals["files"]),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        state if state.is_exception() => error_text(value),
        _ => String::new(),
    }
}

/// A stored error as `Type: message`.
pub(crate) fn error_text(value: &serde_json::Value) -> String {
    let message = match &value["exc_message"] {
        serde_json::Value::Array(parts) => parts.first().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let name = value["exc_type"].as_str().unwrap_or("error");
    match message.as_str() {
        Some(text) => format!("{name}: {text}"),
        None => name.to_owned(),
    }
}

/// Prints a line and flushes it. A closed pipe does not stop the run.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
