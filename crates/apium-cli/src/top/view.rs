//! Draws the model.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap};

use crate::top::model::{Mode, Model, Prompt, Tab};
use crate::top::rows::{Row, Tone, headings};

const HELP: &[(&str, &str)] = &[
    ("1 2 3 4, Tab", "workers, tasks, queues, dead messages"),
    ("arrows, j k", "choose a row; PgUp, PgDn, g and G go further"),
    ("Enter", "all that is known of the row"),
    ("/", "show only rows with these words; Esc shows all again"),
    ("r", "revoke the task: it will not run"),
    ("t", "revoke the task and terminate its run"),
    ("R", "give the task a new rate limit, such as 100/m"),
    ("p", "pause the queue, or resume it"),
    ("y", "send the dead message back to its queue"),
    ("E", "let workers send events of tasks"),
    ("q, ^C", "end"),
];

/// How wide the names in a first column get.
const WIDEST_NAME: u16 = 60;

/// From how many columns on there is room for more than the most important.
const WIDE: u16 = 100;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, tabs, list, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    draw_head(frame, model, head);
    draw_tabs(frame, model, tabs);
    draw_list(frame, model, list);
    draw_foot(frame, model, foot);
    match &model.mode {
        Mode::Help => draw_box(frame, "Keys", help(), false),
        Mode::Details => {
            let details = model.chosen_row().map(|row| row.details).unwrap_or_default();
            draw_box(frame, "Details", details.into_iter().map(Line::raw).collect(), true);
        }
        _ => {}
    }
}

fn draw_head(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let all = model.workers();
    let alive = all.iter().filter(|worker| model.is_alive(worker)).count();
    let ready: u64 = model.queues.iter().map(|queue| queue.ready).sum();
    let now = model.now.as_second();
    let first =
        Line::from(vec![Span::styled("apium top", bold), Span::raw(format!("  {:.0}  {}", model.now, model.broker))]);
    let failed = model.failed.per_second(now);
    let failure_style = if failed > 0.0 { Style::new().fg(Color::Red) } else { Style::new() };
    let mut second =
        vec![Span::raw(format!("workers {alive}/{}  running {}  ready {ready}  ", all.len(), model.active()))];
    if model.dead_count > 0 {
        second.push(Span::styled(format!("dead {}  ", model.dead_count), Style::new().fg(Color::Red)));
    }
    if !model.paused.is_empty() {
        second.push(Span::styled(format!("paused {}  ", model.paused.len()), Style::new().fg(Color::Yellow)));
    }
    second.extend([
        Span::raw(format!("ok {:.1}/s  ", model.succeeded.per_second(now))),
        Span::styled(format!("failed {failed:.1}/s  "), failure_style),
    ]);
    if area.width >= WIDE {
        second.push(Span::raw(format!("retried {:.1}/s", model.retried.per_second(now))));
    }
    frame.render_widget(Paragraph::new(vec![first, Line::from(second)]), area);
}

fn draw_tabs(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let mut spans = Vec::new();
    for (index, tab) in Tab::ALL.into_iter().enumerate() {
        let style = match tab == model.tab {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        spans.push(Span::styled(format!(" {} {} ", index + 1, tab.title()), style));
        spans.push(Span::raw(" "));
    }
    if !model.filter.is_empty() {
        spans.push(Span::styled(format!("/{}", model.filter), Style::new().fg(Color::Yellow)));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_list(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let rows = model.rows();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(nothing(model)).wrap(Wrap { trim: true }), area);
        return;
    }
    let headings = headings(model.tab);
    let width = |least: &u16| if *least == 0 { WIDEST_NAME } else { scaled(*least, area.width) };
    let others: u16 = headings.iter().filter(|(_, least)| *least > 0).map(|(_, least)| width(least) + 1).sum();
    let last = headings.len().saturating_sub(1);
    let widths: Vec<Constraint> = (headings.iter().enumerate())
        .map(|(index, (_, least))| match (*least, index == last) {
            (0, true) => Constraint::Fill(1),
            // What belongs to a name stands near it, also in a wide terminal.
            (0, false) => Constraint::Length(width(least).min(area.width.saturating_sub(others))),
            _ => Constraint::Length(width(least)),
        })
        .collect();
    let head = TableRow::new(headings.iter().map(|(title, _)| *title)).style(Style::new().add_modifier(Modifier::DIM));
    let chosen = model.chosen[model.tab.index()];
    let body = rows.iter().map(table_row);
    let table =
        Table::new(body, widths).header(head).row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(chosen));
    frame.render_stateful_widget(table, area, &mut state);
}

/// A wide terminal has room for whole ids and names.
fn scaled(least: u16, width: u16) -> u16 {
    match (least >= 12, width) {
        (true, 160..) => least.saturating_mul(3).min(40),
        (true, 120..) => least.saturating_mul(2).min(40),
        _ => least,
    }
}

fn table_row(row: &Row) -> TableRow<'_> {
    let style = match row.tone {
        Tone::Plain => Style::new(),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
    };
    TableRow::new(row.cells.iter().map(|cell| Cell::from(cell.as_str()))).style(style)
}

/// What stands where a list is empty.
fn nothing(model: &Model) -> &'static str {
    match (model.filter.is_empty(), model.tab) {
        (false, _) => "No row has these words. Esc shows all rows.",
        (true, Tab::Workers) => "No worker has answered yet. `worker` starts one.",
        (true, Tab::Tasks) => {
            "No task runs. Tasks that have ended are shown where workers send events: E tells them to."
        }
        (true, Tab::Queues) => "The broker has no queues yet.",
        (true, Tab::Dead) => "No message is dead.",
    }
}

fn draw_foot(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let line = match &model.mode {
        Mode::Confirm(action) => {
            let style = Style::new().fg(Color::Black).bg(Color::Yellow);
            Line::styled(format!("{} y: yes, any other key: no", action.question()), style)
        }
        Mode::Ask(prompt, text) => {
            let title = match prompt {
                Prompt::Filter => "filter: ".to_owned(),
                Prompt::RateLimit { task } => format!("rate limit of {task} (100/m, 5/s, 0 is none): "),
                Prompt::Reason { queue } => format!("why is {queue} paused: "),
            };
            Line::from(format!("{title}{text}▏"))
        }
        _ => match &model.message {
            Some(message) => {
                let message = apium_protocol::value::printable::printable(message).to_string();
                Line::styled(message, Style::new().fg(Color::Yellow))
            }
            None => Line::styled(
                "? keys  / filter  Enter details  r revoke  t terminate  p pause  y replay  q end",
                Style::new().add_modifier(Modifier::DIM),
            ),
        },
    };
    frame.render_widget(line, area);
}

fn help() -> Vec<Line<'static>> {
    HELP.iter().map(|(keys, what)| Line::raw(format!("{keys:<14}{what}"))).collect()
}

/// A box over the list.
fn draw_box(frame: &mut Frame<'_>, title: &str, lines: Vec<Line<'_>>, wide: bool) {
    let whole = frame.area();
    let longest = lines.iter().map(Line::width).max().unwrap_or_default();
    let width = match wide {
        true => whole.width.saturating_sub(4),
        false => u16::try_from(longest + 4).unwrap_or(whole.width).min(whole.width),
    };
    let height = match wide {
        true => whole.height.saturating_sub(4),
        false => u16::try_from(lines.len() + 2).unwrap_or(whole.height).min(whole.height),
    };
    let area = Rect { x: (whole.width - width) / 2, y: (whole.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(format!(" {title} ")).title_bottom(" any key closes ");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}
