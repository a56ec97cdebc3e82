//! Where a call goes: `task_routes` choose its options, `task_queues` say which exchange and which routing key a queue
//! has.
//!
//! The order is Celery's: the options of the call, then the task's own attributes, then the first route that matches,
//! then the default queue. A route gives only the options that are missing.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use apium_transport::broker::topology::{ExchangeType, Queue, QueueType};

use crate::config::route_table::RouteTable;
use crate::config::table::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::options::call_options::CallOptions;
use crate::task::arguments::Arguments;

/// The arguments of a function that routes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RouteQuery<'a> {
    /// The task's name.
    pub task: &'a str,
    /// The arguments of the call.
    pub arguments: &'a Arguments,
    /// The options of the call with the task's own attributes.
    pub options: &'a CallOptions,
}

/// A function that routes. It returns options, or `None` to leave the call to the next route.
pub(crate) type RouteFn = Arc<dyn Fn(RouteQuery<'_>) -> Option<CallOptions> + Send + Sync>;

/// One of the routes, which are tried in order.
#[derive(Clone)]
pub(crate) enum Route {
    /// A table of patterns.
    Table(RouteTable),
    /// A function.
    Function(RouteFn),
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => table.fmt(f),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

/// Where a message is published to, and the queue that gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Destination {
    /// The exchange; empty for the default one.
    pub exchange: Arc<str>,
    /// The routing key.
    pub routing_key: Arc<str>,
    /// The queue, which must exist first; `None` when the call gives an exchange without a queue.
    pub queue: Option<Arc<Queue>>,
}

/// Decides where calls go.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Route>,
    declared: HashMap<Arc<str>, Destination>,
    /// Queues that nothing declares, created when they are first named.
    missing: RwLock<HashMap<Arc<str>, Destination>>,
    create_missing: bool,
    missing_exchange: ExchangeType,
    missing_type: QueueType,
    max_priority: Option<u8>,
    default: Destination,
}

impl Router {
    /// A router for the settings. `routes` are tried after `task_routes`; `queues` are declared beside `task_queues`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a route to a queue that nothing declares, when `task_create_missing_queues` is off.
    pub(crate) fn new(config: &Config, routes: Vec<Route>, queues: Vec<Queue>) -> Result<Self> {
        let of_settings = config.task_routes.iter().cloned().map(Route::Table);
        let routes: Vec<Route> = of_settings.chain(routes).collect();
        let mut declared = HashMap::new();
        let default_queue = default_queue(config);
        let own_default = config.task_queues.is_none().then(|| default_queue.clone());
        for mut queue in config.task_queues.iter().flatten().cloned().chain(own_default).chain(queues) {
            queue.max_priority = queue.max_priority.or(config.task_queue_max_priority);
            declared.insert(Arc::from(queue.name.as_str()), destination(queue));
        }
        let mut router = Self {
            routes,
            declared,
            missing: RwLock::default(),
            create_missing: config.task_create_missing_queues,
            missing_type: config.task_create_missing_queue_type,
            missing_exchange: config
                .task_create_missing_queue_exchange_type
                .unwrap_or(config.task_default_exchange_type),
            max_priority: config.task_queue_max_priority,
            default: destination(default_queue),
        };
        let named = router.declared.get(&*config.task_default_queue).cloned();
        router.default = match named {
            Some(destination) => destination,
            None if config.task_create_missing_queues => router.default,
            None => return Err(no_queue(&config.task_default_queue, "the setting task_default_queue")),
        };
        router.check_routes()?;
        Ok(router)
    }

    fn check_routes(&self) -> Result<()> {
        let tables = self.routes.iter().filter_map(|route| match route {
            Route::Table(table) => Some(table),
            Route::Function(_) => None,
        });
        for queue in tables.flat_map(RouteTable::queues) {
            if !self.create_missing && !self.declared.contains_key(queue) {
                return Err(no_queue(queue, "a route"));
            }
        }
        Ok(())
    }

    /// Fills the options of a call from the first route that matches.
    pub fn fill(&self, task: &str, arguments: &Arguments, options: &mut CallOptions) {
        for route in &self.routes {
            match route {
                Route::Table(table) => {
                    if let Some(options_of_route) = table.find(task) {
                        options.fill_from(options_of_route);
                        return;
                    }
                }
                Route::Function(route) => {
                    if let Some(options_of_route) = route(RouteQuery { task, arguments, options }) {
                        options.fill_from(&options_of_route);
                        return;
                    }
                }
            }
        }
    }

    /// The queue of calls of a task that say nothing of it, where the task and the tables of routes decide. `None`
    /// where a function does, or nothing names a queue.
    pub(crate) fn usual_queue(&self, task: &str, mut options: CallOptions) -> Option<Arc<Queue>> {
        for route in &self.routes {
            let Route::Table(table) = route else { return None };
            if let Some(options_of_route) = table.find(task) {
                options.fill_from(options_of_route);
                break;
            }
        }
        self.destination(&options).ok()?.queue
    }

    /// Where a call with these options goes.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a queue that nothing declares, when `task_create_missing_queues` is off.
    pub fn destination(&self, options: &CallOptions) -> Result<Destination> {
        let (exchange, routing_key) = (&options.exchange, &options.routing_key);
        let named = match (&options.queue, exchange) {
            (Some(name), _) => Some(self.queue(name)?),
            (None, None) => Some(self.default.clone()),
            (None, Some(_)) => None,
        };
        Ok(match (named, exchange, routing_key) {
            (Some(queue), None, None) => queue,
            (Some(queue), exchange, routing_key) => Destination {
                exchange: exchange.clone().unwrap_or_else(|| exchange_of(&queue)),
                routing_key: routing_key.clone().unwrap_or_else(|| key_of(&queue)),
                queue: queue.queue,
            },
            (None, exchange, routing_key) => Destination {
                exchange: exchange.clone().unwrap_or_else(|| "".into()),
                routing_key: routing_key.clone().unwrap_or_else(|| key_of(&self.default)),
                queue: None,
            },
        })
    }

    /// The destination of a queue.
    fn queue(&self, name: &Arc<str>) -> Result<Destination> {
        if let Some(declared) = self.declared.get(name) {
            return Ok(declared.clone());
        }
        check_name(name, "the call")?;
        if !self.create_missing {
            return Err(no_queue(name, "the call"));
        }
        if let Some(missing) = self.missing.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(missing.clone());
        }
        let created = destination(self.missing_queue(name));
        self.missing.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), created.clone());
        Ok(created)
    }

    fn missing_queue(&self, name: &str) -> Queue {
        let mut queue = Queue::new(name).queue_type(self.missing_type);
        queue.exchange_type = self.missing_exchange;
        queue.max_priority = self.max_priority;
        queue
    }

    /// The queue that gets messages with this exchange and this routing key, for a message that this router did not
    /// route, such as a retry.
    pub(crate) fn queue_for(&self, exchange: &str, routing_key: &str) -> Option<Arc<Queue>> {
        let declared = self.declared.values().filter_map(|declared| declared.queue.as_ref());
        let by_exchange = || declared.clone().find(|queue| !exchange.is_empty() && queue.exchange == exchange).cloned();
        match self.declared.get(routing_key) {
            Some(declared) if exchange.is_empty() => declared.queue.clone(),
            _ if exchange.is_empty() => Some(Arc::new(self.missing_queue(routing_key))),
            _ => by_exchange(),
        }
    }

    /// The declaration of a queue, for a worker that consumes it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a queue that nothing declares, when `task_create_missing_queues` is off.
    pub fn queue_to_consume(&self, name: &str) -> Result<Queue> {
        match self.declared.get(name).and_then(|declared| declared.queue.as_deref()) {
            Some(queue) => Ok(queue.clone()),
            None if self.create_missing => check_name(name, "the worker").map(|()| self.missing_queue(name)),
            None => Err(no_queue(name, "the worker")),
        }
    }
}

fn default_queue(config: &Config) -> Queue {
    let name = &config.task_default_queue;
    let mut queue = Queue::new(name).queue_type(config.task_default_queue_type);
    queue.exchange.clone_from(config.task_default_exchange.as_ref().unwrap_or(name));
    queue.exchange_type = config.task_default_exchange_type;
    queue.routing_key.clone_from(config.task_default_routing_key.as_ref().unwrap_or(name));
    queue.max_priority = config.task_queue_max_priority;
    queue
}

/// Messages for a direct queue go through the default exchange with the queue's name as routing key, others through the
/// queue's exchange.
fn destination(queue: Queue) -> Destination {
    let (exchange, routing_key) = match queue.exchange_type {
        ExchangeType::Direct => (Arc::from(""), Arc::from(queue.name.as_str())),
        _ => (Arc::from(queue.exchange.as_str()), Arc::from(queue.routing_key.as_str())),
    };
    Destination { exchange, routing_key, queue: Some(Arc::new(queue)) }
}

fn exchange_of(destination: &Destination) -> Arc<str> {
    match &destination.queue {
        Some(queue) => queue.exchange.as_str().into(),
        None => destination.exchange.clone(),
    }
}

fn key_of(destination: &Destination) -> Arc<str> {
    match &destination.queue {
        Some(queue) => queue.routing_key.as_str().into(),
        None => destination.routing_key.clone(),
    }
}

/// Refuses a name that is empty: it would be a queue that no list shows and no command line can name.
fn check_name(name: &str, whose: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("use the queue {name:?} of {whose}: a queue needs a name")));
    }
    Ok(())
}

fn no_queue(name: &str, whose: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "use the queue {name} of {whose}: task_queues has none of that name and task_create_missing_queues is off"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;
    use crate::options::priority::Priority;

    fn config(toml: &str) -> Config {
        let mut settings = Settings::new();
        settings.add_toml(toml, "test").unwrap();
        settings.check().unwrap()
    }

    fn router(toml: &str) -> Router {
        Router::new(&config(toml), Vec::new(), Vec::new()).unwrap()
    }

    fn route(router: &Router, task: &str, mut options: CallOptions) -> (String, String, Option<Priority>) {
        router.fill(task, &Arguments::default(), &mut options);
        let destination = router.destination(&options).unwrap();
        (destination.exchange.to_string(), destination.routing_key.to_string(), options.priority)
    }

    #[test]
    fn feature_6_01_the_default_queue_is_celery() {
        let destination = route(&router(""), "any", CallOptions::default());
        assert_eq!(destination, (String::new(), "celery".into(), None));
        let destination = route(&router("task_default_queue = 'mine'"), "any", CallOptions::default());
        assert_eq!(destination.1, "mine");
    }

    #[test]
    fn scenario_24_exact_beats_glob_the_call_beats_the_route_and_none_overrides_nothing() {
        let router = router("[task_routes]\n'lab.*' = 'glob'\n'lab.add' = { queue = 'exact', priority = 7 }");
        assert_eq!(route(&router, "lab.add", CallOptions::default()).1, "exact");
        assert_eq!(route(&router, "lab.sub", CallOptions::default()).1, "glob");
        let (_, queue, priority) = route(&router, "lab.add", CallOptions::from("mine"));
        assert_eq!((&*queue, priority), ("mine", Some(7.into())));
    }

    #[test]
    fn feature_6_07_routers_are_asked_in_order_until_one_answers() {
        let function: RouteFn = Arc::new(|query| (query.task == "b").then(|| "by-function".into()));
        let mut later = RouteTable::new();
        later.add("b", "too-late".into()).unwrap();
        later.add("c", "table".into()).unwrap();
        let routes = vec![Route::Function(function), Route::Table(later)];
        let router = Router::new(&config("task_routes = [{ a = 'settings' }]"), routes, Vec::new()).unwrap();
        for (task, queue) in [("a", "settings"), ("b", "by-function"), ("c", "table"), ("d", "celery")] {
            assert_eq!(route(&router, task, CallOptions::default()).1, queue);
        }
    }

    #[test]
    fn a_queue_has_a_name() {
        for name in ["", " "] {
            let error = router("").destination(&name.into()).unwrap_err().to_string();
            assert!(error.contains("needs a name"), "{error}");
            assert!(router("").queue_to_consume(name).is_err());
        }
        for toml in ["task_default_queue = ''", "task_queues = ['a', ' ']"] {
            let mut settings = Settings::new();
            settings.add_toml(toml, "test").unwrap();
            assert!(settings.check().unwrap_err().to_string().contains("empty"));
        }
    }

    #[test]
    fn feature_6_04_the_default_queue_and_missing_queues_have_types() {
        let kind_of = |toml: &str, name: &str| {
            let queue = router(toml).queue_to_consume(name).unwrap();
            queue.arguments.get("x-queue-type").map(|kind| kind.as_str().to_owned())
        };
        let quorum = Some(r#""quorum""#.to_owned());
        for (toml, of_default, of_missing) in [
            ("", None, None),
            ("task_default_queue_type = 'quorum'", quorum.clone(), None),
            ("task_create_missing_queue_type = 'quorum'", None, quorum.clone()),
            ("task_default_queue_type = 'classic'", None, None),
            ("task_default_queue_type = 'quorum'\ntask_queues = ['celery', 'new']", None, None),
        ] {
            assert_eq!((kind_of(toml, "celery"), kind_of(toml, "new")), (of_default, of_missing), "{toml}");
        }
        let mut settings = Settings::new();
        settings.add_toml("task_default_queue_type = 'stream'", "test").unwrap();
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("classic") && error.contains("stream"), "{error}");
    }

    #[test]
    fn feature_6_03_missing_queues_are_made_or_refused() {
        assert_eq!(route(&router(""), "t", "new".into()).1, "new");
        let strict = router("task_create_missing_queues = false\ntask_default_queue = 'a'\ntask_queues = ['a']");
        let error = strict.destination(&"b".into()).unwrap_err().to_string();
        assert!(error.contains("queue b") && error.contains("task_create_missing_queues"), "{error}");
        let config = config(
            "task_create_missing_queues = false\ntask_queues = ['a']\ntask_default_queue = 'a'\n[task_routes]\nt = 'b'",
        );
        assert!(Router::new(&config, Vec::new(), Vec::new()).is_err());
    }

    #[test]
    fn feature_6_02_a_topic_queue_is_reached_through_its_exchange() {
        let router = router(
            "task_default_queue = 'media'\n\
             [task_queues.media]\nexchange = 'x'\nexchange_type = 'topic'\nrouting_key = 'media.#'",
        );
        assert_eq!(route(&router, "t", "media".into()).0, "x");
        let options = CallOptions { routing_key: Some("media.video".into()), .."media".into() };
        let destination = router.destination(&options).unwrap();
        assert_eq!((&*destination.exchange, &*destination.routing_key), ("x", "media.video"));
        assert_eq!(destination.queue.unwrap().name, "media");
    }

    #[test]
    fn feature_2_1_15_exchange_and_key_by_hand() {
        let router = router("");
        let options = CallOptions { routing_key: Some("k".into()), ..CallOptions::default() };
        assert_eq!(route(&router, "t", options), ("celery".into(), "k".into(), None));
        let options = CallOptions { exchange: Some("e".into()), ..CallOptions::default() };
        assert_eq!(route(&router, "t", options), ("e".into(), "celery".into(), None));
        let options =
            CallOptions { exchange: Some("e".into()), routing_key: Some("k".into()), ..CallOptions::default() };
        assert_eq!(route(&router, "t", options), ("e".into(), "k".into(), None));
    }
}
