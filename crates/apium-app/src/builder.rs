//! The builder of an app: it checks the settings, registers the tasks, and opens the broker and the result backends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apium_protocol::codecs::accept::Accept;
use apium_protocol::codecs::codecs::Codecs;
use apium_protocol::codecs::serializer::{Compression, Serializer};
use apium_transport::address::Address;
use apium_transport::backend::backend::SharedBackend;
use apium_transport::broker::broker::SharedBroker;
use apium_transport::broker::topology::Queue;
use apium_transport::clock::Clock;
use apium_transport::driver::{DriverOptions, SharedDriver};
use apium_transport::option_value::OptionValue;

use crate::app::app::{App, AppParts};
use crate::app::blocking::Blocking;
#[cfg(feature = "autodiscover")]
use crate::app::defaults::AppDefaults;
use crate::app::eager_runner::EagerRunner;
use crate::app::no_broker::NoBroker;
use crate::builtin_tasks::BUILTIN_TASKS;
use crate::config::read::nearest;
use crate::config::route_table::RouteTable;
use crate::config::settings::Settings;
use crate::config::table::Config;
use crate::config::value::Value;
use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::WireError;
use crate::failure_of_error::name_class;
use crate::observe::app_observer::{AppObserver, AppObservers};
use crate::options::call_options::CallOptions;
use crate::publish::layer::{PublishLayer, SharedPublishLayer};
use crate::publish::producer::ProducerPool;
use crate::publish::publisher::{Publisher, PublisherParts, SendDefaults};
use crate::publish::router::{Route, RouteQuery, Router};
use crate::task::class::Task;
use crate::task::definition::TaskType;
use crate::task::registry::{Registry, RegistryBuilder};

/// Builds an app. The first mistake is returned as an error by [`build`](Self::build).
#[must_use = "nothing is built until `build` is called"]
pub struct AppBuilder {
    name: String,
    drivers: Vec<SharedDriver>,
    /// The settings that the program gives by methods of the builder.
    settings: Settings,
    /// The settings of files, variables and flags, which win.
    config: Settings,
    codecs: Codecs,
    tasks: RegistryBuilder,
    autodiscover: bool,
    states: StateMap,
    routes: Vec<Route>,
    queues: Vec<Queue>,
    layers: Vec<SharedPublishLayer>,
    observers: Vec<Arc<dyn AppObserver>>,
    clock: Clock,
    eager_runner: Option<Arc<dyn EagerRunner>>,
    first_error: Option<Error>,
}

/// What a route gives a call: the name of a queue, a queue (which is declared), or any options of a call.
#[derive(Debug, Clone)]
pub struct RouteTarget {
    options: CallOptions,
    queue: Option<Queue>,
}

impl From<&str> for RouteTarget {
    fn from(queue: &str) -> Self {
        Self { options: queue.into(), queue: None }
    }
}

impl From<Queue> for RouteTarget {
    fn from(queue: Queue) -> Self {
        Self { options: queue.name.as_str().into(), queue: Some(queue) }
    }
}

impl From<CallOptions> for RouteTarget {
    fn from(options: CallOptions) -> Self {
        Self { options, queue: None }
    }
}

#[cfg(feature = "autodiscover")]
impl App {
    /// Starts to build an app. `name` is its name in logs and errors (Celery: `main`).
    ///
    /// The app may use every driver of this build: `memory://`, `sqlite:///…` with the feature `sqlite`, `redis://…`
    /// with `redis` and `rediss://…` with `redis-tls`. [`AppBuilder::driver`] adds another one. Every `#[task]`
    /// function that is linked into the program is registered.
    pub fn builder(name: impl Into<String>) -> AppBuilder {
        let builder = AppBuilder::new(name, AppDefaults::drivers());
        match AppDefaults::eager_runner() {
            Some(runner) => builder.eager_runner(runner),
            None => builder,
        }
    }
}

impl AppBuilder {
    /// Starts to build an app that may use these drivers. With the feature `autodiscover` every `#[task]` function that
    /// is linked into the program is registered, unless [`autodiscover`](Self::autodiscover) says no.
    pub fn new(name: impl Into<String>, drivers: Vec<SharedDriver>) -> Self {
        Self {
            name: name.into(),
            drivers,
            settings: Settings::new(),
            config: Settings::new(),
            codecs: Codecs::standard(),
            tasks: builtins(),
            autodiscover: cfg!(feature = "autodiscover"),
            states: StateMap::new(),
            routes: Vec::new(),
            queues: Vec::new(),
            layers: Vec::new(),
            observers: Vec::new(),
            clock: Clock::system(),
            eager_runner: None,
            first_error: None,
        }
    }

    fn record_error(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.first_error.get_or_insert(error);
        }
    }

    /// Settings of files, variables and flags. They win over the settings that methods of the builder give.
    pub fn config(mut self, settings: Settings) -> Self {
        self.config.merge(settings);
        self
    }

    /// Gives one setting by its name. The error for an unknown name says which known one is nearest.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        let outcome = self.settings.set(name, value);
        self.record_error(outcome);
        self
    }

    /// The address of the broker (setting `broker_url`). Without it, only eager calls work.
    pub fn broker(self, url: impl Into<String>) -> Self {
        self.setting("broker_url", url.into())
    }

    /// The address of the result backend (setting `result_backend`). Without it, no results are stored.
    pub fn backend(self, url: impl Into<String>) -> Self {
        self.setting("result_backend", url.into())
    }

    /// Adds a driver. It wins over those of the same scheme that were added before.
    pub fn driver(mut self, driver: SharedDriver) -> Self {
        self.drivers.insert(0, driver);
        self
    }

    /// Adds a value that tasks get by a parameter of type `State<T>`.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states = self.states.with(value);
        self
    }

    /// Changes a state that a crate above keeps in the app; at first it is the default.
    #[doc(hidden)]
    pub fn change_state<T: Clone + Default + Send + Sync + 'static>(self, change: impl FnOnce(&mut T)) -> Self {
        let mut state = self.states.get::<T>().cloned().unwrap_or_default();
        change(&mut state);
        self.state(state)
    }

    /// Adds a route: from a task name, a glob (`"mail.*"`) or a regular expression (`"re:^mail\\."`) to the name of a
    /// queue, a [`Queue`], or any options of a call. Routes are tried after `task_routes`. An exact name wins over
    /// patterns, and a pattern over those that were added after it.
    pub fn route(mut self, pattern: &str, target: impl Into<RouteTarget>) -> Self {
        let RouteTarget { options, queue } = target.into();
        self.queues.extend(queue);
        if !matches!(self.routes.last(), Some(Route::Table(_))) {
            self.routes.push(Route::Table(RouteTable::new()));
        }
        if let Some(Route::Table(table)) = self.routes.last_mut() {
            let outcome = table.add(pattern, options).map_err(|error| {
                Error::new(ErrorKind::Config, format!("use the route \"{pattern}\"")).with_source(error)
            });
            self.record_error(outcome);
        }
        self
    }

    /// Adds a function that routes. It returns options of a call, or `None` to leave the call to the next route.
    pub fn router(mut self, route: impl Fn(RouteQuery<'_>) -> Option<CallOptions> + Send + Sync + 'static) -> Self {
        self.routes.push(Route::Function(Arc::new(route)));
        self
    }

    /// Declares a queue beside those of `task_queues`.
    pub fn queue(mut self, queue: impl Into<Queue>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Registers a `#[task]` function: `.register::<add>()`.
    pub fn register<T: TaskType>(mut self) -> Self {
        self.tasks.def(T::def());
        self
    }

    /// Registers a task class: a type that implements [`Task`].
    pub fn register_task<T: Task>(mut self, task: T) -> Self {
        self.tasks.task(task);
        self
    }

    /// Makes the Python class of an error type known, which `#[wire_error]` names: `.register_error::<OutOfStock>()`.
    /// It is for programs without the feature `autodiscover`; with it, all are known. It holds for the whole program.
    pub fn register_error<E: WireError>(self) -> Self {
        name_class::<E>();
        self
    }

    /// Whether every `#[task]` function that is linked into the program is registered without being named (default: the
    /// feature `autodiscover`). Without the feature, yes is an error of [`build`](Self::build).
    pub fn autodiscover(mut self, yes: bool) -> Self {
        if yes && cfg!(not(feature = "autodiscover")) {
            let text = "find tasks that are not named: this program was built without the feature `autodiscover` of \
                        apium; name each with AppBuilder::register";
            self.record_error(Err(Error::new(ErrorKind::Config, text)));
        }
        self.autodiscover = yes;
        self
    }

    /// Adds a serializer.
    pub fn serializer(mut self, serializer: impl Serializer + 'static) -> Self {
        self.codecs = self.codecs.with_serializer(Arc::new(serializer));
        self
    }

    /// Adds a compression.
    pub fn compression(mut self, compression: impl Compression + 'static) -> Self {
        self.codecs = self.codecs.with_compression(Arc::new(compression));
        self
    }

    /// Adds a layer of publishing, inside those that were added before. It sees every message, also those that a worker
    /// of this app sends.
    pub fn layer(mut self, layer: impl PublishLayer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Adds an observer of what is published (Celery's signals `before_task_publish` and `after_task_publish`).
    pub fn observer(mut self, observer: impl AppObserver) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// The clock (default: the machine's). Tests give one that they can set.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What runs eager calls (default: the worker's, with the feature `worker`).
    pub fn eager_runner(mut self, runner: Arc<dyn EagerRunner>) -> Self {
        self.eager_runner = Some(runner);
        self
    }

    /// Builds the app and opens its broker and result backends.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an unknown or wrong setting, two tasks of one name, impossible options of a task, a
    /// wrong route, or an address that no driver knows; [`ErrorKind::Backend`] when the broker or a result backend
    /// cannot be opened.
    pub async fn build(mut self) -> Result<App> {
        if let Some(error) = self.first_error {
            return Err(error);
        }
        self.settings.merge(self.config);
        self.settings.take_foreign().into_iter().for_each(|task| self.tasks.foreign(task));
        let config = Arc::new(self.settings.check()?);
        let accept = Accept::names(config.accept_content.iter().cloned());
        check_codecs(&self.codecs, &accept, &config)?;
        #[cfg(feature = "autodiscover")]
        if self.autodiscover {
            self.tasks.discover();
        }
        let registry = self.tasks.build(&config.task_defaults(), |name| config.task_annotations.of(name))?;
        check_tasks(&registry, &self.codecs)?;
        let router = Router::new(&config, self.routes, self.queues)?;
        let drivers = Drivers { drivers: &self.drivers, clock: &self.clock, config: &config };
        let broker = match &config.broker_url {
            Some(address) => drivers.broker(address).await?,
            None => Arc::new(NoBroker::new()?),
        };
        let backend = match &config.result_backend {
            Some(address) => Some(drivers.backend(address).await?),
            None => None,
        };
        let backends = drivers.backends_of_tasks(&registry).await?;
        let publisher = Publisher::new(PublisherParts {
            defaults: defaults(&registry),
            reply_to: backend.as_ref().and_then(|backend| backend.reply_to()),
            codecs: self.codecs,
            clock: self.clock,
            broker,
            router,
            layers: self.layers,
            observers: AppObservers::start(self.observers)?,
            config: config.clone(),
        });
        Ok(App::new(AppParts {
            name: self.name,
            publisher,
            registry: Arc::new(registry),
            states: self.states,
            accept,
            backend,
            backends,
            drivers: self.drivers,
            eager_runner: self.eager_runner,
            producers: ProducerPool::new(&config),
            blocking: Blocking::default(),
        }))
    }

    /// Builds the app on this thread. For code that is not async.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_blocking(self) -> Result<App> {
        Blocking::default().run(self.build())?
    }
}

fn check_codecs(codecs: &Codecs, accept: &Accept, config: &Config) -> Result<()> {
    let wrong = |setting: &str, error: apium_protocol::error::Error| {
        Error::new(ErrorKind::Config, format!("use the setting {setting}")).with_source(error)
    };
    codecs.check_accept(accept).map_err(|error| wrong("accept_content", error))?;
    codecs.serializer(&config.task_serializer).map_err(|error| wrong("task_serializer", error))?;
    codecs.serializer(&config.event_serializer).map_err(|error| wrong("event_serializer", error))?;
    if let Some(name) = &config.task_compression {
        codecs.compression(name).map_err(|error| wrong("task_compression", error))?;
    }
    Ok(())
}

fn check_tasks(registry: &Registry, codecs: &Codecs) -> Result<()> {
    for task in registry.iter() {
        let serializer = task.options.serializer.as_deref().map(|name| codecs.serializer(name).map(drop));
        let compression = task.options.compression.as_deref().map(|name| match name {
            "" => Ok(()),
            name => codecs.compression(name).map(drop),
        });
        for checked in [serializer, compression].into_iter().flatten() {
            checked.map_err(|error| {
                let text = format!("register the task {} (defined at {})", task.name, task.location);
                Error::new(ErrorKind::Config, text).with_source(error)
            })?;
        }
    }
    Ok(())
}

fn defaults(registry: &Registry) -> HashMap<Arc<str>, SendDefaults> {
    let mut all = HashMap::new();
    for task in registry.iter() {
        let defaults = SendDefaults::of(task.name.clone(), &task.options, task.effective.ignore_result);
        for name in std::iter::once(&task.name).chain(&task.aliases) {
            all.insert(name.clone(), defaults.clone());
        }
    }
    all
}

/// The features of the crate `apium` that bring these schemes.
const FEATURES: &[(&[&str], &str)] = &[
    (&["sqlite"], "sqlite-bundled"),
    (&["redis", "redis+socket", "sentinel", "redis+cluster", "valkey"], "redis"),
    (&["rediss", "rediss+cluster", "valkeys"], "redis-tls"),
    (&["amqp", "pyamqp", "rpc"], "amqp"),
    (&["amqps"], "amqp-tls"),
];

/// Opens brokers and result backends by their addresses.
struct Drivers<'a> {
    drivers: &'a [SharedDriver],
    clock: &'a Clock,
    config: &'a Config,
}

impl Drivers<'_> {
    fn find(&self, address: &Address, what: &str) -> Result<&SharedDriver> {
        let found = self.drivers.iter().find(|driver| driver.schemes().contains(&address.scheme()));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.drivers.iter().flat_map(|driver| driver.schemes()).copied().collect();
            let scheme = address.scheme();
            let of_feature = FEATURES.iter().find(|(schemes, _)| schemes.contains(&scheme));
            let hint = match (of_feature, nearest(scheme, known.iter().copied())) {
                (Some((_, feature)), _) => format!("turn on the feature {feature} of the crate apium"),
                (None, Some(near)) => format!("did you mean {near}?"),
                (None, None) => "each driver is a feature of the crate apium".to_owned(),
            };
            let text = format!(
                "open the {what} {address}: no driver of this program knows this scheme; known are {}; {hint}",
                known.join(", ")
            );
            Error::new(ErrorKind::Config, text)
        })
    }

    fn options(&self, extra: &BTreeMap<String, OptionValue>) -> DriverOptions {
        let mut options = DriverOptions::new(self.clock.clone());
        options.connect_timeout = self.config.broker_connection_timeout;
        options.extra.clone_from(extra);
        options
    }

    async fn broker(&self, address: &Address) -> Result<SharedBroker> {
        let options = self.options(&self.config.broker_transport_options);
        let opened = self.find(address, "broker")?.broker(address.clone(), options).await;
        opened.map_err(|error| not_opened("broker", address, error))
    }

    async fn backend(&self, address: &Address) -> Result<SharedBackend> {
        let options = self.options(&self.config.result_backend_transport_options);
        let opened = self.find(address, "result backend")?.backend(address.clone(), options).await;
        opened.map_err(|error| not_opened("result backend", address, error))
    }

    async fn backends_of_tasks(&self, registry: &Registry) -> Result<HashMap<String, SharedBackend>> {
        let mut backends = HashMap::new();
        for task in registry.iter() {
            let Some(url) = task.options.backend.as_deref() else { continue };
            if backends.contains_key(url) {
                continue;
            }
            let of_task = |error: Error| {
                let text = format!("register the task {} (defined at {})", task.name, task.location);
                Error::new(ErrorKind::Config, text).with_source(error)
            };
            let address = Address::parse(url).map_err(|error| of_task(error.into()))?;
            let backend = self.backend(&address).await.map_err(of_task)?;
            backends.insert(url.to_owned(), backend);
        }
        Ok(backends)
    }
}

/// An address or an option that is wrong is a setting that is wrong.
fn not_opened(what: &str, address: &Address, error: apium_transport::error::Error) -> Error {
    let kind = match error.kind() {
        apium_transport::error::ErrorKind::Address => ErrorKind::Config,
        _ => ErrorKind::Backend,
    };
    Error::new(kind, format!("open the {what} {address}")).with_source(error)
}

/// The tasks that every app has.
fn builtins() -> RegistryBuilder {
    let mut tasks = RegistryBuilder::new();
    tasks.builtins(BUILTIN_TASKS);
    tasks
}
