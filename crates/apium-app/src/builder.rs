//! Building an app: settings are checked, tasks registered, broker and result backends opened.

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

use crate::app::app::{App, AppParts};
use crate::app::blocking::Blocking;
use crate::app::defaults::{self, AppDefaults};
use crate::app::eager_runner::EagerRunner;
use crate::app::no_broker::NoBroker;
use crate::builtin_tasks::BUILTIN_TASKS;
use crate::config::route_table::RouteTable;
use crate::config::settings::Settings;
use crate::config::table::Config;
use crate::config::value::Value;
use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::publish::layer::{PublishLayer, SharedPublishLayer};
use crate::publish::producer::ProducerPool;
use crate::publish::publisher::{Publisher, PublisherParts, SendDefaults};
use crate::publish::router::{Route, RouteQuery, Router};
use crate::task::class::Task;
use crate::task::definition::TaskType;
use crate::task::registry::{Registry, RegistryBuilder};

/// Builds an app. The first thing that is wrong is the error of [`build`](Self::build).
#[must_use = "nothing is built until `build` is called"]
pub struct AppBuilder {
    name: String,
    drivers: Vec<SharedDriver>,
    own: Settings,
    given: Settings,
    codecs: Codecs,
    tasks: RegistryBuilder,
    autodiscover: bool,
    states: StateMap,
    routes: Vec<Route>,
    queues: Vec<Queue>,
    layers: Vec<SharedPublishLayer>,
    clock: Clock,
    eager_runner: Option<Arc<dyn EagerRunner>>,
    failed: Option<Error>,
}

/// Where a route leads: a queue by name, a queue to be declared, or any options of a call.
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

impl App {
    /// Begins an app. `name` is Celery's `main`: the app's name in logs and errors.
    ///
    /// The app may use every driver of this build: `memory://`, `sqlite:///…` with the feature `sqlite`, `redis://…`
    /// with `redis` and `rediss://…` with `redis-tls`. [`AppBuilder::driver`] adds one of your own. Tasks that are
    /// linked into the program are registered without being named (feature `autodiscover`).
    pub fn builder(name: impl Into<String>) -> AppBuilder {
        let builder = AppBuilder::new(name, AppDefaults::drivers()).autodiscover(AppDefaults::autodiscovers());
        match defaults::eager_runner() {
            Some(runner) => builder.eager_runner(runner),
            None => builder,
        }
    }
}

impl AppBuilder {
    /// An app of this name that may use these drivers. Tasks that are linked into the program are found by themselves.
    pub fn new(name: impl Into<String>, drivers: Vec<SharedDriver>) -> Self {
        Self {
            name: name.into(),
            drivers,
            own: Settings::new(),
            given: Settings::new(),
            codecs: Codecs::standard(),
            tasks: builtins(),
            autodiscover: true,
            states: StateMap::new(),
            routes: Vec::new(),
            queues: Vec::new(),
            layers: Vec::new(),
            clock: Clock::system(),
            eager_runner: None,
            failed: None,
        }
    }

    fn fail(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }

    /// Settings of files, variables and flags; they win over those that the builder gives.
    pub fn config(mut self, settings: Settings) -> Self {
        self.given.merge(settings);
        self
    }

    /// One setting by its name. An unknown one is an error that names the nearest.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        let outcome = self.own.set(name, value);
        self.fail(outcome);
        self
    }

    /// Where the broker is: the setting `broker_url`.
    pub fn broker(self, url: impl Into<String>) -> Self {
        self.setting("broker_url", url.into())
    }

    /// Where results are stored: the setting `result_backend`.
    pub fn backend(self, url: impl Into<String>) -> Self {
        self.setting("result_backend", url.into())
    }

    /// One more driver; it wins over earlier ones of the same scheme.
    pub fn driver(mut self, driver: SharedDriver) -> Self {
        self.drivers.insert(0, driver);
        self
    }

    /// State for tasks to take by its type (`State<T>`).
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states = self.states.with(value);
        self
    }

    /// A route: for a task name, a glob (`"mail.*"`) or a regular expression (`"re:^mail\\."`), to a queue's name, a
    /// [`Queue`] or any options. Asked after `task_routes`; exact names win, then patterns in order.
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
            self.fail(outcome);
        }
        self
    }

    /// A function that routes: options of a call, or nothing when another router shall answer.
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

    /// Registers a task class.
    pub fn register_task<T: Task>(mut self, task: T) -> Self {
        self.tasks.task(task);
        self
    }

    /// Whether every `#[task]` function of the program is registered by itself (default true).
    pub fn autodiscover(mut self, yes: bool) -> Self {
        self.autodiscover = yes;
        self
    }

    /// One more serializer.
    pub fn serializer(mut self, serializer: impl Serializer + 'static) -> Self {
        self.codecs = self.codecs.with_serializer(Arc::new(serializer));
        self
    }

    /// One more compression.
    pub fn compression(mut self, compression: impl Compression + 'static) -> Self {
        self.codecs = self.codecs.with_compression(Arc::new(compression));
        self
    }

    /// A layer around publishing, inside those that were given before.
    pub fn layer(mut self, layer: impl PublishLayer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Another clock than the machine's: one that tests turn.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What runs eager calls.
    pub fn eager_runner(mut self, runner: Arc<dyn EagerRunner>) -> Self {
        self.eager_runner = Some(runner);
        self
    }

    /// Builds the app and opens its broker and result backends.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an unknown or wrong setting, two tasks of one name, options of a task that cannot be,
    /// a bad route, an address that no driver knows; [`ErrorKind::Backend`] when a store cannot be opened.
    pub async fn build(mut self) -> Result<App> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.own.merge(self.given);
        let config = Arc::new(self.own.check()?);
        let accept = Accept::names(config.accept_content.iter().cloned());
        check_codecs(&self.codecs, &accept, &config)?;
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
            codecs: self.codecs,
            clock: self.clock,
            broker,
            router,
            layers: self.layers,
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

    /// Builds the app from plain code.
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

/// Opens stores by their addresses.
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
            let text =
                format!("open the {what} {address}: no driver knows this scheme; there are {}", known.join(", "));
            Error::new(ErrorKind::Config, text)
        })
    }

    fn options(&self, extra: &BTreeMap<String, String>) -> DriverOptions {
        let mut options = DriverOptions::new(self.clock.clone());
        options.connect_timeout = self.config.broker_connection_timeout;
        options.extra.clone_from(extra);
        options
    }

    async fn broker(&self, address: &Address) -> Result<SharedBroker> {
        let options = self.options(&self.config.broker_transport_options);
        let opened = self.find(address, "broker")?.broker(address.clone(), options).await;
        opened.map_err(|error| Error::new(ErrorKind::Backend, format!("open the broker {address}")).with_source(error))
    }

    async fn backend(&self, address: &Address) -> Result<SharedBackend> {
        let options = self.options(&self.config.result_backend_transport_options);
        let opened = self.find(address, "result backend")?.backend(address.clone(), options).await;
        opened.map_err(|error| {
            Error::new(ErrorKind::Backend, format!("open the result backend {address}")).with_source(error)
        })
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
/// The tasks that every app has.
fn builtins() -> RegistryBuilder {
    let mut tasks = RegistryBuilder::new();
    tasks.builtins(BUILTIN_TASKS);
    tasks
}
