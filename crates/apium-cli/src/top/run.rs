//! The loop of the view: it draws the model, and feeds it keys, events, answers and the time.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::events::receiver::{EventReceiver, ReceivedEvent};
use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::exit::{Code, CommandError, Result};
use crate::top::actions::execute;
use crate::top::collect::{Collected, collect};
use crate::top::input::{self, Effect};
use crate::top::model::Model;
use crate::top::terminal::Screen;
use crate::top::view;

/// How often the view is drawn at least.
const FRAME: Duration = Duration::from_millis(250);
/// How often workers are reminded that somebody looks, so that they go on sending heartbeats.
const WAKE_EVERY: Duration = Duration::from_secs(30);
/// How many events are taken between two looks at the keys.
const EVENTS_AT_ONCE: usize = 1_000;

/// How the view works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopOptions {
    /// How often workers and queues are asked.
    pub(crate) interval: Duration,
}

/// What happened.
enum Happened {
    Key(Option<std::io::Result<TerminalEvent>>),
    Event(Option<apium_app::error::Result<ReceivedEvent>>),
    Collected(Collected),
    Done(String),
    Refresh,
    Frame,
    Wake,
    Stop,
}

/// Shows the view until `q`, ^C or SIGTERM.
pub(crate) async fn watch(app: &App, options: TopOptions) -> Result<()> {
    // Before the terminal is taken over, so that a broker that cannot is said in plain text.
    let mut events = Some(app.events().listen().await?);
    let mut screen = Screen::open()?;
    let failed = |what: &str, error: std::io::Error| CommandError::new(Code::Other, format!("{what}: {error}"));
    let mut keys = EventStream::new();
    let signal_of = |kind| signal(kind).map_err(|error| failed("listen to signals", error));
    let (mut term, mut hangup) = (signal_of(SignalKind::terminate())?, signal_of(SignalKind::hangup())?);
    let (mut refresh, mut frame, mut wake) = (interval(options.interval), interval(FRAME), interval(WAKE_EVERY));
    for ticks in [&mut refresh, &mut frame, &mut wake] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut model = Model::new(app.broker().address().to_string(), app.clock().now());
    let mut collecting: Option<BoxFuture<'static, Collected>> = None;
    let mut acting: Option<BoxFuture<'static, String>> = None;
    loop {
        let happened = tokio::select! {
            biased;
            _ = term.recv() => Happened::Stop,
            _ = hangup.recv() => Happened::Stop,
            key = keys.next() => Happened::Key(key),
            Some(done) = OptionFuture::from(acting.as_mut()) => Happened::Done(done),
            Some(collected) = OptionFuture::from(collecting.as_mut()) => Happened::Collected(collected),
            _ = frame.tick() => Happened::Frame,
            _ = refresh.tick() => Happened::Refresh,
            _ = wake.tick() => Happened::Wake,
            event = OptionFuture::from(events.as_mut().map(EventReceiver::next)), if events.is_some() => {
                Happened::Event(event)
            }
        };
        model.now = app.clock().now();
        match happened {
            Happened::Stop | Happened::Key(None) => return Ok(()),
            Happened::Key(Some(Err(error))) => return Err(failed("read keys", error)),
            Happened::Key(Some(Ok(TerminalEvent::Key(pressed)))) => match input::key(&mut model, pressed) {
                Some(Effect::Quit) => return Ok(()),
                Some(Effect::Do(_)) if acting.is_some() => model.message = Some("still busy with the last one".into()),
                Some(Effect::Do(action)) => acting = Some(Box::pin(execute(app.clone(), action))),
                None => {}
            },
            Happened::Key(Some(Ok(_))) => {}
            Happened::Event(Some(Ok(event))) => {
                model.event(&event);
                if let Some(receiver) = &mut events {
                    take_waiting(receiver, &mut model);
                }
                continue;
            }
            Happened::Event(Some(Err(error))) => {
                events = None;
                model.message = Some(format!("could not {error:#}"));
            }
            Happened::Event(None) => {}
            Happened::Collected(collected) => {
                collecting = None;
                model.collected(collected);
            }
            Happened::Done(done) => {
                acting = None;
                model.message = Some(done);
            }
            Happened::Refresh => {
                let timeout = options.interval.min(Duration::from_secs(1));
                collecting.get_or_insert_with(|| Box::pin(collect(app.clone(), timeout)));
                continue;
            }
            Happened::Wake if acting.is_none() => {
                // That it fails is said where workers are asked.
                let _ = app.control().heartbeat().send().await;
                continue;
            }
            Happened::Frame | Happened::Wake => {}
        }
        screen.terminal.draw(|frame| view::draw(frame, &model)).map_err(|error| failed("draw", error))?;
    }
}

/// Takes the events that have come already, as many as leave time for keys.
fn take_waiting(receiver: &mut EventReceiver, model: &mut Model) {
    for _ in 0..EVENTS_AT_ONCE {
        match receiver.try_next() {
            Some(event) => model.event(&event),
            None => break,
        }
    }
    if receiver.missed() {
        model.message = Some("events were missed: too many came at once, or the broker was away".to_owned());
    }
}
