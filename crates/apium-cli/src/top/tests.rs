//! Tests of the model, of keys, and of the view at two sizes of a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use apium_app::events::receiver::ReceivedEvent;
use apium_protocol::message::event::Event;
use apium_transport::broker::dead_set::DeadLetter;
use apium_transport::broker::queue_admin::QueueStats;
use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use crate::top::collect::{Collected, NodeAnswers};
use crate::top::input::{Effect, key};
use crate::top::model::{Action, Mode, Model, Tab};
use crate::top::view;

fn now() -> Timestamp {
    "2026-12-01T08:00:00Z".parse().unwrap()
}

fn event(model: &mut Model, kind: &str, fields: Value) {
    let mut whole = json!({ "type": kind, "hostname": "py1@kiosk", "timestamp": 1_796_112_000.0, "clock": 7 });
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let event = Event::read_all(&Bytes::from(whole.to_string())).unwrap().remove(0);
    model.event(&ReceivedEvent::new(event, model.now));
}

/// A model of a Rust worker that answered, a Python worker of which events tell, and some of everything else.
fn model() -> Model {
    let mut model = Model::new("redis://localhost:6379/0".to_owned(), now());
    event(
        &mut model,
        "worker-heartbeat",
        json!({ "freq": 2.0, "active": 1, "processed": 41, "loadavg": [0.5, 0.4, 0.3] }),
    );
    let call = json!({ "uuid": "id-of-a-failure", "name": "shop.charge", "args": "(7,)", "kwargs": "{}" });
    event(&mut model, "task-received", call);
    let end = json!({ "uuid": "id-of-a-failure", "exception": "ValueError('no card \u{1b}[2J')", "traceback": "Traceback\n  line 2" });
    event(&mut model, "task-failed", end);
    event(&mut model, "task-succeeded", json!({ "uuid": "id-of-a-success", "result": "3", "runtime": 0.25 }));
    let mut paused = Vec::new();
    let mut queue = QueueStats::new("celery".to_owned());
    (queue.ready, queue.consumers) = (12, 2);
    let mut letter = DeadLetter::new(3, "undecodable".into(), "the body is no JSON".into(), now(), "celery".into());
    (letter.task, letter.task_id) = (Some("shop.mail".into()), Some("id-of-a-letter".into()));
    let answers = NodeAnswers { reserved: 4, scheduled: 1, queues: vec!["celery".into()], ..NodeAnswers::default() };
    let nodes = BTreeMap::from([("rust1@kiosk".to_owned(), answers)]);
    paused.extend(paused_queue("mail", "the mail server is down"));
    model.collected(Collected { nodes, queues: vec![queue], paused, dead: vec![letter], dead_count: 1, error: None });
    model
}

/// A queue that was paused, as the broker tells it.
fn paused_queue(queue: &str, reason: &str) -> Option<apium_app::control::pause::PausedQueue> {
    use apium_app::builder::AppBuilder;
    use apium_transport::clock::Clock;
    use apium_transport::memory::MemoryDriver;
    let builder = AppBuilder::new("top", vec![std::sync::Arc::new(MemoryDriver::new())]).autodiscover(false);
    let app = builder.broker("memory://").clock(Clock::manual(now())).build_blocking().unwrap();
    app.control().pause_queue(queue, reason).send_blocking().unwrap();
    let asked = app.clone();
    app.blocking().run(async move { asked.control().paused_queues().await }).unwrap().unwrap().pop()
}

fn press(model: &mut Model, code: KeyCode) -> Option<Effect> {
    key(model, KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_text(model: &mut Model, text: &str) {
    for character in text.chars() {
        assert_eq!(press(model, KeyCode::Char(character)), None);
    }
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn workers_of_both_kinds_are_seen_at_both_sizes() {
    let model = model();
    for (width, height) in [(80, 24), (200, 50)] {
        let screen = screen(&model, width, height);
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), usize::from(height), "{screen}");
        assert!(lines[0].starts_with("apium top  2026-12-01T08:00:00Z  redis://localhost:6379/0"), "{screen}");
        assert!(
            lines[1].starts_with("workers 2/2  running 0  ready 12  dead 1  paused 1  ok 0.1/s  failed 0.1/s"),
            "{screen}"
        );
        assert_eq!(lines[1].ends_with("retried 0.0/s"), width > 80, "{screen}");
        assert!(lines[2].contains("1 Workers") && lines[2].contains("4 Dead"), "{screen}");
        assert!(lines[3].starts_with("worker") && lines[3].ends_with("load"), "{screen}");
        let python = lines.iter().find(|line| line.starts_with("py1@kiosk")).unwrap();
        let cells: Vec<&str> = python.split_whitespace().collect();
        assert_eq!(cells, ["py1@kiosk", "online", "1", "-", "-", "41", "1", "1", "0.50"], "{screen}");
        let rust = lines.iter().find(|line| line.starts_with("rust1@kiosk")).unwrap();
        assert_eq!(
            rust.split_whitespace().collect::<Vec<_>>()[..5],
            ["rust1@kiosk", "online", "0", "4", "1"],
            "{screen}"
        );
        assert!(lines[usize::from(height) - 1].starts_with("? keys"), "{screen}");
    }
}

#[test]
fn every_tab_fits_a_small_terminal_and_shows_whole_ids_in_a_large_one() {
    let mut model = model();
    press(&mut model, KeyCode::Char('2'));
    let large = screen(&model, 200, 50);
    assert!(large.contains("id-of-a-failure") && large.contains("shop.charge") && large.contains("FAILURE"), "{large}");
    assert!(large.contains(r"ValueError('no card \u001b[2J')"), "{large}");
    assert!(screen(&model, 80, 24).contains("FAILURE"));
    press(&mut model, KeyCode::Tab);
    let queues = screen(&model, 80, 24);
    assert!(queues.contains("celery") && queues.contains("the mail server is down"), "{queues}");
    press(&mut model, KeyCode::Tab);
    let dead = screen(&model, 80, 24);
    assert!(
        dead.contains("12-01 08:00:00 celery")
            && dead.contains("undecodable: the body is")
            && dead.contains("shop.mail"),
        "{dead}"
    );
    press(&mut model, KeyCode::Tab);
    assert_eq!(model.tab, Tab::Workers);
    press(&mut model, KeyCode::BackTab);
    assert_eq!(model.tab, Tab::Dead);
}

#[test]
fn no_size_of_a_terminal_breaks_the_view() {
    let mut model = model();
    for mode in [Mode::List, Mode::Help, Mode::Details] {
        for tab in Tab::ALL {
            (model.tab, model.mode) = (tab, mode.clone());
            for (width, height) in [(1, 1), (5, 3), (20, 6), (300, 10), (80, 1)] {
                screen(&model, width, height);
            }
        }
    }
    let empty = Model::new("memory://".to_owned(), now());
    assert!(screen(&empty, 80, 24).contains("No worker has answered yet"));
}

#[test]
fn help_and_details_open_and_any_key_closes_them() {
    let mut model = model();
    press(&mut model, KeyCode::Char('?'));
    let help = screen(&model, 80, 24);
    for word in ["revoke the task", "pause the queue", "dead message", "rate limit", "any key closes"] {
        assert!(help.contains(word), "{help}");
    }
    press(&mut model, KeyCode::Char('x'));
    assert_eq!(model.mode, Mode::List);
    press(&mut model, KeyCode::Char('2'));
    type_text(&mut model, "/charge");
    press(&mut model, KeyCode::Enter);
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.mode, Mode::Details);
    let details = screen(&model, 80, 24);
    assert!(details.contains("exception    ValueError") && details.contains("line 2"), "{details}");
    press(&mut model, KeyCode::Char('r'));
    assert_eq!(model.mode, Mode::List, "a key that closes does nothing else");
}

#[test]
fn an_action_is_done_only_when_it_is_confirmed() {
    let mut model = model();
    press(&mut model, KeyCode::Char('2'));
    type_text(&mut model, "/charge");
    press(&mut model, KeyCode::Enter);
    for (letter, terminate) in [('r', false), ('t', true)] {
        assert_eq!(press(&mut model, KeyCode::Char(letter)), None);
        assert!(screen(&model, 80, 24).contains("task id-of-a-failure? y: yes"), "{}", screen(&model, 80, 24));
        assert_eq!(press(&mut model, KeyCode::Enter), None, "only y is yes");
        assert_eq!(model.message.as_deref(), Some("nothing was done"));
        press(&mut model, KeyCode::Char(letter));
        let action = Action::Revoke { id: "id-of-a-failure".into(), terminate };
        assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(action)));
    }
    press(&mut model, KeyCode::Char('R'));
    type_text(&mut model, "5/mx");
    press(&mut model, KeyCode::Backspace);
    press(&mut model, KeyCode::Enter);
    let action = Action::RateLimit { task: "shop.charge".into(), limit: "5/m".into() };
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(action)));
    press(&mut model, KeyCode::Esc);

    press(&mut model, KeyCode::Char('3'));
    press(&mut model, KeyCode::Char('p'));
    type_text(&mut model, "too slow");
    press(&mut model, KeyCode::Enter);
    let action = Action::Pause { queue: "celery".into(), reason: "too slow".into() };
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(action)));
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Char('p'));
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(Action::Resume { queue: "mail".into() })));

    press(&mut model, KeyCode::Char('4'));
    press(&mut model, KeyCode::Char('y'));
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(Action::Replay { key: 3 })));
    press(&mut model, KeyCode::Char('E'));
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(Effect::Do(Action::EnableEvents)));
    press(&mut model, KeyCode::Char('p'));
    assert!(model.message.as_deref().unwrap().contains("does nothing to this row"), "{:?}", model.message);
    assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Effect::Quit));
}

#[test]
fn a_filter_leaves_the_rows_with_all_of_its_words() {
    let mut model = model();
    press(&mut model, KeyCode::Char('2'));
    assert_eq!(model.rows().len(), 2);
    type_text(&mut model, "/CHARGE valueerror");
    assert_eq!(model.rows().len(), 1, "it filters while it is typed");
    assert!(screen(&model, 80, 24).contains("filter: CHARGE valueerror"));
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Esc);
    assert_eq!((model.filter.as_str(), model.rows().len()), ("", 2));
    type_text(&mut model, "/nothing");
    assert!(screen(&model, 80, 24).contains("No row has these words"));
}

#[test]
fn the_chosen_row_stays_in_the_list() {
    let mut model = model();
    press(&mut model, KeyCode::End);
    assert_eq!(model.chosen[0], 1);
    press(&mut model, KeyCode::Down);
    assert_eq!(model.chosen[0], 1);
    press(&mut model, KeyCode::Home);
    press(&mut model, KeyCode::Up);
    assert_eq!(model.chosen[0], 0);
    press(&mut model, KeyCode::End);
    model.now = now() + Duration::from_secs(31);
    model.collected(Collected::default());
    assert_eq!((model.chosen[0], model.rows().len()), (0, 1), "a worker that is silent for long is gone");
    assert!(!model.is_alive("py1@kiosk"));
    model.nodes.clear();
    press(&mut model, KeyCode::Char('4'));
    assert_eq!(press(&mut model, KeyCode::Char('r')), None);
    assert_eq!(press(&mut model, KeyCode::Enter), None);
}

#[test]
fn a_failed_question_is_said_and_the_rest_is_shown() {
    let mut model = model();
    let error = Some("could not send the command stats\u{1b}[2J".to_owned());
    model.collected(Collected { error, ..Collected::default() });
    let screen = screen(&model, 80, 24);
    assert!(screen.contains(r"could not send the command stats\u001b[2J") && screen.contains("py1@kiosk"), "{screen}");
}
