//! Heartbeats: by them monitors know that the worker lives (Celery: `worker-heartbeat`).
//!
//! Celery's workers send one every 2 s, whether anybody listens or not. This one does so while it sends events of
//! tasks, while the last heartbeat reached somebody, and for a while after somebody asked for one. Otherwise it sends
//! one a minute: that finds a listener who never asks, and each says when the next one comes, so that nobody takes the
//! worker for dead meanwhile.

use std::sync::Arc;
use std::time::Duration;

use apium_app::observe::event_sender::EventSender;
use apium_transport::clock::{Clock, Moment};

use crate::observe::event_fields::{WorkerFigures, of_worker};
use crate::observe::event_queue::EventQueue;
use crate::observe::observer::Observer;
use crate::pipeline::process::Process;
use crate::service::Stopping;

/// How often heartbeats come while somebody listens, as in Celery.
pub(crate) const OFTEN: Duration = Duration::from_secs(2);
/// How often they come while nobody does, as far as is known. A monitor takes a worker for dead after twice as long.
const SELDOM: Duration = Duration::from_secs(60);
/// For how long somebody who asked is taken for a listener, where the broker cannot tell. Flower asks every few
/// seconds.
const ASKED_LATELY: Duration = Duration::from_secs(300);
/// The `freq` of a heartbeat that was asked for, as in Celery.
const ASKED_FREQ: f64 = 5.0;

/// When heartbeats are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HeartbeatPace {
    /// Often while somebody listens, and seldom otherwise.
    #[default]
    Wanted,
    /// Always this often (`--heartbeat-interval`).
    Every(Duration),
    /// Never (`--without-heartbeat`): monitors do not see the worker.
    Never,
}

/// Sends heartbeats.
pub(crate) struct Heartbeat {
    pub(crate) pace: HeartbeatPace,
    pub(crate) queue: Arc<EventQueue>,
    pub(crate) sender: EventSender,
    pub(crate) process: Arc<Process>,
    pub(crate) clock: Clock,
}

impl Heartbeat {
    /// Says that the worker is online, then sends heartbeats until it is asked to stop.
    pub(crate) async fn serve(self, mut stopping: Stopping) {
        if self.pace == HeartbeatPace::Never {
            return stopping.wait().await;
        }
        let mut asked: Option<Moment> = None;
        self.tell("worker-online", self.interval(None));
        loop {
            let interval = self.interval(asked);
            tokio::select! {
                biased;
                () = stopping.wait() => return,
                () = self.queue.pace_changed.notified() => {
                    let (is_wanted, is_asked) = self.queue.take_asked();
                    if is_wanted {
                        asked = Some(self.clock.moment());
                    }
                    if is_asked {
                        self.answer();
                    }
                    // A listener was found, or asked: the next one comes soon.
                }
                () = self.clock.sleep(interval) => {
                    self.tell("worker-heartbeat", self.interval(asked));
                    self.observer().heartbeat_sent();
                }
            }
        }
    }

    /// How long until the next heartbeat.
    fn interval(&self, asked: Option<Moment>) -> Duration {
        match self.pace {
            HeartbeatPace::Every(interval) => return interval,
            HeartbeatPace::Never => return SELDOM,
            HeartbeatPace::Wanted => {}
        }
        let asked_lately = asked.is_some_and(|asked| self.clock.moment().saturating_since(asked) < ASKED_LATELY);
        let is_heard = match self.queue.listeners() {
            Some(count) => count > 0,
            None => asked_lately,
        };
        if is_heard || self.queue.wants_tasks() { OFTEN } else { SELDOM }
    }

    /// The last event of the worker.
    pub(crate) fn tell_offline(&self) {
        if self.pace != HeartbeatPace::Never {
            self.tell("worker-offline", self.interval(None));
        }
    }

    fn observer(&self) -> &Observer {
        &self.process.observer
    }

    fn tell(&self, kind: &'static str, interval: Duration) {
        let (now, figures) = (self.clock.now(), self.figures());
        self.queue
            .push_ready(|clock| of_worker(&self.sender, (kind, now, clock), interval.as_secs_f64(), Some(figures)));
    }

    /// Answers somebody who asked for a heartbeat, as Celery does.
    fn answer(&self) {
        let now = self.clock.now();
        self.queue.push_ready(|clock| of_worker(&self.sender, ("worker-heartbeat", now, clock), ASKED_FREQ, None));
        self.observer().heartbeat_sent();
    }

    fn figures(&self) -> WorkerFigures {
        let (active, processed) = self.process.run_queue.running();
        WorkerFigures { active, processed, load: load_average() }
    }
}

/// The load averages of the machine, with two digits as Celery writes them; zeros where the system has none.
fn load_average() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut loads = text.split(' ').map_while(|word| word.parse::<f64>().ok());
    std::array::from_fn(|_| loads.next().unwrap_or_default())
}
