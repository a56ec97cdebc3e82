//! The table of settings: Celery's lower-case names with type, default and meaning. [`Config`], the reference page, the
//! variables `APIUM_*` and the nearest-name errors all come from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use apium_transport::address::Address;
use apium_transport::broker::topology::{ExchangeType, Queue, QueueType};
use apium_transport::option_value::OptionValue;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use crate::config::annotations::Annotations;
use crate::config::app_table::AppTable;
use crate::config::prefetch::PrefetchMultiplier;
use crate::config::read::FromValue;
use crate::config::retry_policy::RetryPolicy;
use crate::config::route_table::RouteTable;
use crate::config::settings::Settings;
use crate::context::result_document::ResultPolicy;
use crate::error::Result;
use crate::options::effective_options::TaskDefaults;
use crate::options::priority::Priority;
use crate::options::rate_limit::RateLimit;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name: Celery's where Celery has it.
    pub name: &'static str,
    /// The part of Apium it belongs to.
    pub group: &'static str,
    /// What is allowed, in words.
    pub kind: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// A setting that does not have its default, as it may be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownSetting {
    /// Its name.
    pub name: &'static str,
    /// Its value, without secrets.
    pub shown: String,
    /// Where it came from.
    pub origin: String,
}

macro_rules! settings {
    ($($group:literal { $( $(#[doc = $doc:literal])+ $name:ident: $ty:ty = $default:expr, $shown:literal; )+ })+) => {
        /// The settings in effect: checked, typed, immutable. Each field is one row of [`SETTINGS`].
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $name: $ty, )+)+
            given: Vec<ShownSetting>,
            app_table: AppTable,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($( $name: $default, )+)+ given: Vec::new(), app_table: AppTable::default() }
            }
        }

        impl Config {
            /// Reads every setting; the first that does not fit is the error.
            pub(crate) fn read(given: &Settings) -> Result<Self> {
                let config = Self {
                    $($( $name: given.read(stringify!($name))?.unwrap_or_else(|| $default), )+)+
                    given: given.shown(),
                    app_table: given.app_table().clone(),
                };
                config.check(given)?;
                Ok(config)
            }
        }

        /// Every setting there is.
        pub static SETTINGS: &[Setting] = &[$($(
            Setting {
                name: stringify!($name),
                group: $group,
                kind: <$ty as FromValue>::KIND,
                default: $shown,
                doc: concat!($($doc, "\n"),+),
            },
        )+)+];
    };
}

settings! {
    "general" {
        /// Serializers (names or content types) whose messages and results are decoded.
        accept_content: Vec<String> = vec!["json".into()], "json";
        /// Whether `request.utc` is true, and times are written in UTC when `timezone` names none.
        enable_utc: bool = true, "true";
        /// The time zone in which countdowns, expiries and dates of results are written; none is UTC.
        timezone: Option<TimeZone> = None, "none";
    }
    "task" {
        /// Options of tasks by task name (`"*"` for all): rate_limit, time_limit, queue, max_retries, …
        task_annotations: Annotations = Annotations::default(), "none";
        /// The serializer of messages.
        task_serializer: String = "json".into(), "json";
        /// The compression of messages.
        task_compression: Option<String> = None, "none";
        /// Whether publishing is tried again when the broker cannot be reached.
        task_publish_retry: bool = true, "true";
        /// How publishing is tried again.
        task_publish_retry_policy: RetryPolicy = RetryPolicy::publish(), "max_retries=3, interval_start=0, interval_step=0.2, interval_max=0.2";
        /// Run every call at once, in the caller's process.
        task_always_eager: bool = false, "false";
        /// Whether the failure of an eager task is the error of the call itself.
        task_eager_propagates: bool = false, "false";
        /// Whether results of eager calls are stored in the result backend.
        task_store_eager_result: bool = false, "false";
        /// Store no results, unless the task or the call says otherwise.
        task_ignore_result: bool = false, "false";
        /// Store the errors of tasks whose results are ignored.
        task_store_errors_even_if_ignored: bool = false, "false";
        /// Store the state STARTED, with pid and host name, when a task begins.
        task_track_started: bool = false, "false";
        /// The hard time limit of tasks that have none.
        task_time_limit: Option<Duration> = None, "none";
        /// The soft time limit of tasks that have none.
        task_soft_time_limit: Option<Duration> = None, "none";
        /// Ack messages after the run rather than before. What runs in a worker that is killed is lost with early ack,
        /// so that a chord that waits for it stays PENDING for ever; with late ack another worker runs it again.
        task_acks_late: bool = false, "false";
        /// With late ack: whether a failed run is acked.
        task_acks_on_failure: bool = true, "true";
        /// With late ack: whether a run that hit its hard limit is acked.
        task_acks_on_timeout: bool = true, "true";
        /// With late ack: whether a run whose child process died begins again, in another child, until it has killed as
        /// many as worker_max_crashes allows. If not, it fails. When a whole worker dies, its messages always go back.
        task_reject_on_worker_lost: bool = false, "false";
        /// Whether a run whose child process died is retried, after default_retry_delay and as often as max_retries
        /// allows.
        task_retry_on_worker_lost: bool = false, "false";
        /// The rate limit of tasks that have none.
        task_default_rate_limit: Option<RateLimit> = None, "none";
        /// The wait before a retry that names none, for the whole app (Apium's own). Without it a retry by hand waits
        /// 1800 s, and an automatic one does not wait.
        task_default_retry_delay: Option<Duration> = None, "none";
        /// Whether callers send the event `task-sent` for each message.
        task_send_sent_event: bool = false, "false";
        /// Whether a call from inside a task takes the priority of that task.
        task_inherit_parent_priority: bool = false, "false";
        /// The priority of calls that have none. With 5, they are between `urgent` and `background` on every broker.
        task_default_priority: Option<Priority> = None, "none";
    }
    "routing" {
        /// The queues. Where they are given, the default queue is not added.
        task_queues: Option<Vec<Queue>> = None, "none";
        /// Which tasks go to which queue, and with which options.
        task_routes: Vec<RouteTable> = Vec::new(), "none";
        /// Whether an errback of a chord is linked to the tasks of its header too, not to the body alone.
        task_allow_error_cb_on_chord_header: bool = false, "false";
        /// The largest priority of queues that name none.
        task_queue_max_priority: Option<u8> = None, "none";
        /// Whether a queue that is not declared is created when it is first used.
        task_create_missing_queues: bool = true, "true";
        /// The type of queues that are created so, on RabbitMQ: classic or quorum.
        task_create_missing_queue_type: QueueType = QueueType::Classic, "classic";
        /// The exchange type of queues that are created so; none is that of `task_default_exchange_type`.
        task_create_missing_queue_exchange_type: Option<ExchangeType> = None, "none";
        /// The queue of calls that no route matches.
        task_default_queue: String = "celery".into(), "celery";
        /// The type of the default queue on RabbitMQ: classic or quorum. It has no effect where `task_queues` is given.
        task_default_queue_type: QueueType = QueueType::Classic, "classic";
        /// The exchange of the default queue; none is the queue's name.
        task_default_exchange: Option<String> = None, "none";
        /// The exchange type of the default queue.
        task_default_exchange_type: ExchangeType = ExchangeType::Direct, "direct";
        /// The routing key of the default queue; none is the queue's name.
        task_default_routing_key: Option<String> = None, "none";
        /// 2: messages survive a restart of the broker; 1: they may be lost.
        task_default_delivery_mode: u8 = 2, "2";
    }
    "broker" {
        /// Where messages are published to and consumed from.
        broker_url: Option<Address> = None, "none";
        /// How many producers (`app.producer()`) may be held at once; none or 0 is without limit. Calls without one
        /// share the broker's own connection and are not limited.
        broker_pool_limit: Option<usize> = Some(10), "10";
        /// How long to wait for a producer; none is without limit.
        broker_pool_acquire_timeout: Option<Duration> = None, "none";
        /// How long opening the broker or the result backend may take.
        broker_connection_timeout: Duration = Duration::from_secs(4), "4";
        /// How long publishing may take in all, retries included (Apium's own). Where the retry policy has no limit, it
        /// is how long each try may take.
        broker_publish_timeout: Duration = Duration::from_secs(5), "5";
        /// Options of the broker's driver, each with the type that the driver wants. Those in the query of the address
        /// win.
        broker_transport_options: BTreeMap<String, OptionValue> = BTreeMap::new(), "none";
    }
    "result" {
        /// Where results are stored; with none, they are not stored.
        result_backend: Option<Address> = None, "none";
        /// Options of the result backend's driver, likewise.
        result_backend_transport_options: BTreeMap<String, OptionValue> = BTreeMap::new(), "none";
        /// How long results are kept; none or 0 is without end.
        result_expires: Option<Duration> = Some(Duration::from_secs(86_400)), "1d";
        /// Store the name, arguments, worker, retries and queue of the task with its result.
        result_extended: bool = false, "false";
        /// A result of more bytes than this, encoded, is stored with a warning in the log; 0 is without limit (Apium's
        /// own).
        result_size_warning: usize = 1_048_576, "1048576";
        /// A task whose result has more bytes than this, encoded, has failed with `ResultTooLarge`, an error that names
        /// both sizes; 0 is without limit. What the store refuses for its size fails in the same way (Apium's own).
        result_size_limit: usize = 0, "0";
        /// How long the counters of a chord are kept; none is as long as results.
        result_chord_expires: Option<Duration> = None, "none";
        /// How long collecting the results of a chord's header may take. The process that ends the last part has twice
        /// as long, and at least 5 s, to send the body; after that another may send it.
        result_chord_join_timeout: Duration = Duration::from_secs(3), "3";
    }
    "worker" {
        /// How many tasks run at once. None is the number of processors, as in Celery; for an app whose tasks are all
        /// `async fn` it is 64 at least, since such tasks wait for something outside and use no processor meanwhile.
        worker_concurrency: Option<NonZeroUsize> = None, "none";
        /// How many messages are fetched ahead. With "auto" (Apium's own) the worker measures the rate at which runs
        /// end, and fetches as many messages ahead as end in about 50 ms: at least as many as there are free slots, at
        /// most 4096. What waits for a slot for longer than 0.2 s goes back to its queue. A number is for each slot, as
        /// in Celery, whose default is 4; 0 is without limit.
        worker_prefetch_multiplier: PrefetchMultiplier = PrefetchMultiplier::Auto, "auto";
        /// Where tasks run: async (async fn on the runtime, plain fn on threads), threads (every task on a thread),
        /// processes (every task in a child process; also prefork), solo (one task at a time).
        worker_pool: String = "async".into(), "async";
        /// How many tasks a child process runs before another one takes its place.
        worker_max_tasks_per_child: Option<u32> = None, "none";
        /// How many KiB of memory a child process may have when a task has ended. With more, another one takes its
        /// place.
        worker_max_memory_per_child: Option<u32> = None, "none";
        /// How many async fn a child process runs at once (Apium's own). With more than 1, a child that dies takes
        /// several runs with it: those that are acked late run again, each in a child of its own, and the others fail.
        worker_child_concurrency: NonZeroUsize = NonZeroUsize::MIN, "1";
        /// How long a new child process may take to show that it has started. After that it is killed. It may take any
        /// time to build its app, or to import it.
        worker_proc_alive_timeout: Duration = Duration::from_secs(4), "4";
        /// How long a child process that has closed its channel may take to end before it is killed. Its runs are lost
        /// only then.
        worker_lost_wait: Duration = Duration::from_secs(10), "10";
        /// Whether the command pool_restart replaces the child processes of the pool.
        worker_pool_restarts: bool = false, "false";
        /// How long a stop lets running tasks go on before it cancels them. With 0, as in Celery, a warm stop (SIGTERM)
        /// waits as long as they take, and a cold one does not wait. Otherwise it bounds both, where Celery bounds the
        /// cold one alone.
        worker_soft_shutdown_timeout: Duration = Duration::ZERO, "0";
        /// How long a worker that stops goes on trying to store results and to settle messages while nothing of that
        /// can be done, since its broker or a result backend is away. Then it ends, and its report names what is not
        /// settled (Apium's own).
        worker_settle_timeout: Duration = Duration::from_secs(10), "10";
        /// How many threads may be lost to plain functions that go on after their hard time limit. At this number the
        /// worker is unhealthy and stops in order, so that a new process can take its place. None is one for each slot,
        /// and at least 8; 0 is without limit (Apium's own).
        worker_max_leaked_threads: Option<u32> = None, "none";
        /// Whether rate limits are ignored.
        worker_disable_rate_limits: bool = false, "false";
        /// How often a message may kill its worker before it goes to the dead set; with 0 it never does (Apium's own).
        worker_max_crashes: u32 = 3, "3";
        /// How long the messages in flight of a worker stay reserved for it after its last heartbeat (Apium's own).
        worker_lease: Duration = Duration::from_secs(30), "30";
        /// A file that exists while the worker is connected and fetches messages, for a readiness probe such as
        /// `test -f` (Apium's own).
        worker_ready_file: Option<String> = None, "none";
        /// Where the worker answers `GET /ready` and `GET /live` over HTTP, with 200 or 503 and one line of text;
        /// `/live` is 200 for as long as the process answers. `GET /metrics` is a page for Prometheus (Apium's own).
        worker_health_listen: Option<SocketAddr> = None, "none";
        /// Whether workers send events of tasks, for monitors (`-E`).
        worker_send_task_events: bool = false, "false";
        /// How many revoked tasks are remembered at most, and how many revoked stamps; the oldest go (Celery: the
        /// variable `CELERY_WORKER_REVOKES_MAX`).
        worker_revokes_max: usize = 50_000, "50000";
        /// How long a revoked task is remembered (Celery: the variable `CELERY_WORKER_REVOKE_EXPIRES`).
        worker_revoke_expires: Duration = Duration::from_secs(10_800), "10800";
        /// Whether the worker listens to commands: `inspect`, `control`, revokes that are sent while it runs.
        worker_enable_remote_control: bool = true, "true";
    }
    "control" {
        /// The first part of the names of the exchanges of remote control: `celery.pidbox`, `reply.celery.pidbox`.
        control_exchange: String = "celery".into(), "celery";
        /// How long a command, or a reply to one, waits for who is to read it.
        control_queue_ttl: Duration = Duration::from_secs(300), "300";
        /// How long the queues of commands and replies outlive their owner.
        control_queue_expires: Duration = Duration::from_secs(10), "10";
    }
    "event" {
        /// The exchange of events.
        event_exchange: String = "celeryev".into(), "celeryev";
        /// The first part of the names of the queues of those who receive events.
        event_queue_prefix: String = "celeryev".into(), "celeryev";
        /// How long an event waits for a receiver that does not read.
        event_queue_ttl: Duration = Duration::from_secs(5), "5";
        /// How long the queue of a receiver outlives it.
        event_queue_expires: Duration = Duration::from_secs(60), "60";
        /// The serializer of events. Whoever receives them reads JSON too.
        event_serializer: String = "json".into(), "json";
    }
}

macro_rules! task_defaults {
    (
        { $($name:ident $doc:tt $setting:ident $type:tt $default:tt;)+ }
        { $($named:ident $named_doc:tt $named_setting:ident $named_type:tt $named_default:tt;)+ }
    ) => {
        impl Config {
            /// What the settings say to every task that says nothing itself.
            pub fn task_defaults(&self) -> TaskDefaults {
                TaskDefaults { $( $name: self.$setting, )+ $( $named: self.$named_setting, )+ }
            }
        }
    };
}
macro_rules! with_named {
    ($resolved:tt) => {
        apium_options::options! { named => task_defaults $resolved }
    };
}
apium_options::options! { resolved => with_named }

impl Config {
    /// Checks what the types do not.
    fn check(&self, given: &Settings) -> Result<()> {
        if let (Some(hard), Some(soft)) = (self.task_time_limit, self.task_soft_time_limit)
            && soft > hard
        {
            let allowed = format!("at most task_time_limit, which is {} s", hard.as_secs_f64());
            return Err(given.wrong("task_soft_time_limit", &allowed));
        }
        if self.task_default_queue.trim().is_empty() {
            return Err(given.wrong("task_default_queue", "a text that is not empty"));
        }
        if self.task_queues.iter().flatten().any(|queue| queue.name.trim().is_empty()) {
            return Err(given.wrong("task_queues", "queues whose names are not empty"));
        }
        if !matches!(self.task_default_delivery_mode, 1 | 2) {
            return Err(given.wrong("task_default_delivery_mode", "1 or 2"));
        }
        if self.worker_lease < Duration::from_millis(100) {
            return Err(given.wrong("worker_lease", "0.1 s or more"));
        }
        if self.broker_publish_timeout.is_zero() {
            return Err(given.wrong("broker_publish_timeout", "more than zero"));
        }
        let serializers = [("task_serializer", &self.task_serializer), ("event_serializer", &self.event_serializer)];
        let accepted = self.accept_content.iter().map(|name| ("accept_content", name));
        for (setting, name) in serializers.into_iter().chain(accepted) {
            if name.contains("pickle") {
                return Err(given.wrong(setting, "any serializer but pickle, whose decoding runs code of the sender"));
            }
        }
        Ok(())
    }

    /// The settings that do not have their default, by name, as they may be printed.
    pub fn changed(&self) -> impl Iterator<Item = &ShownSetting> {
        self.given.iter()
    }

    /// The table `[app]` as a type of the program. See [`Settings::app`].
    ///
    /// # Errors
    /// Those of [`Settings::app`].
    pub fn app<T: DeserializeOwned>(&self) -> Result<T> {
        self.app_table.read()
    }

    /// The names of the queues of the settings: `task_queues`, or the default queue alone.
    pub fn queue_names(&self) -> Vec<String> {
        match &self.task_queues {
            Some(queues) => queues.iter().map(|queue| queue.name.clone()).collect(),
            None => vec![self.task_default_queue.clone()],
        }
    }

    /// What the settings say about stored results.
    #[doc(hidden)]
    pub fn result_policy(&self) -> ResultPolicy {
        ResultPolicy { ttl: self.result_ttl(), extended: self.result_extended, zone: self.zone() }
    }

    /// The zone in which times are written: `timezone`, else UTC, or the machine's own where `enable_utc` is off.
    pub fn zone(&self) -> TimeZone {
        match &self.timezone {
            Some(zone) => zone.clone(),
            None if self.enable_utc => TimeZone::UTC,
            None => TimeZone::system(),
        }
    }

    /// How long the counters of a chord are kept: `result_chord_expires`, else as long as results.
    pub fn chord_ttl(&self) -> Option<Duration> {
        self.result_chord_expires.or(self.result_expires).filter(|ttl| !ttl.is_zero())
    }

    /// How long the process that ends the last part of a chord may take to send its body.
    pub fn chord_claim(&self) -> Duration {
        (self.result_chord_join_timeout * 2).max(Duration::from_secs(5))
    }

    /// How long results are kept: `result_expires`, where 0 is without end.
    pub fn result_ttl(&self) -> Option<Duration> {
        self.result_expires.filter(|ttl| !ttl.is_zero())
    }
}
