//! From a call to a message: options are merged and routed, headers and properties are filled, the body is encoded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use apium_protocol::message::body::{Body, Embed};
use apium_protocol::message::headers::{Headers, TimeLimit};
use apium_protocol::message::message::Message;
use apium_protocol::message::properties::Properties;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::timestamp;
use apium_protocol::value::repr::{args_repr, kwargs_repr};
use apium_transport::broker::broker::PriorityOrder;
use apium_transport::broker::outgoing::Outgoing;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::context::current;
use crate::context::request::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::trace_context;
use crate::options::call_options::{CallOptions, Expires, RareOptions, When};
use crate::options::priority::{Priority, may_have_words, write_numbers, write_numbers_behind};
use crate::publish::policy::PublishPolicy;
use crate::publish::publisher::{Publisher, SendDefaults};
use crate::task::arguments::Arguments;
use crate::task::definition::TaskDef;

/// A call of which a message is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallSpec {
    /// The task's name.
    pub task: Cow<'static, str>,
    /// The arguments.
    pub arguments: Arguments,
    /// The options of the call itself.
    pub options: CallOptions,
    /// The task's definition, where it was called through its type. Its options count although it is not registered.
    pub def: Option<&'static TaskDef>,
    /// Whether the task was called by its name and not through its type (Celery: `send_task`).
    pub by_name: bool,
}

impl CallSpec {
    /// A call of a task by its name, without options.
    pub fn named(task: impl Into<Cow<'static, str>>, arguments: Arguments) -> Self {
        Self { task: task.into(), arguments, options: CallOptions::default(), def: None, by_name: true }
    }
}

/// A message that is ready to be published.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PreparedMessage {
    /// The task's id.
    pub id: TaskId,
    /// The message, and where it goes.
    pub outgoing: Outgoing,
    /// Whether the result is ignored, as far as the caller knows.
    pub ignored: bool,
    /// Whether it is recorded among the children of the running task.
    pub add_to_parent: bool,
    /// How often publishing it is tried.
    pub policy: PublishPolicy,
}

/// What a call takes from the task that makes it.
#[derive(Debug, Clone)]
pub struct ParentTask {
    /// Its id.
    pub id: TaskId,
    /// The first task of its workflow.
    pub root_id: TaskId,
    /// Its priority, for `task_inherit_parent_priority`.
    pub priority: Option<Priority>,
}

impl ParentTask {
    /// The task of a request; `None` for a function that was called directly.
    pub fn of(request: &Request) -> Option<Self> {
        let id = request.id()?.clone();
        let root_id = request.headers.root_id.clone().unwrap_or_else(|| id.clone());
        Some(Self { id, root_id, priority: request.properties.priority.map(Priority::Number) })
    }
}

impl Publisher {
    /// Makes the message of a call. Nothing is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Call`] for impossible options (a soft limit above the hard one, an instant after the year 9999, an
    /// empty task id), [`ErrorKind::Config`] for a queue that does not exist and must not be created,
    /// [`ErrorKind::Codec`] when the arguments cannot be encoded with this serializer or compression.
    pub fn prepare(&self, call: CallSpec) -> Result<PreparedMessage> {
        self.prepare_for(call, current::get().and_then(|ctx| ParentTask::of(ctx.request())))
    }

    /// As [`prepare`](Self::prepare), for a call whose parent is not the running task: a worker makes the messages that
    /// follow a run after the run.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    #[doc(hidden)]
    pub fn prepare_for(&self, call: CallSpec, parent: Option<ParentTask>) -> Result<PreparedMessage> {
        let _stop = tracing::trace_span!(target: "apium::walk", "prepare", task = &*call.task).entered();
        let CallSpec { task, arguments, mut options, def, by_name } = call;
        let mapped = mapped_task(&task, &arguments);
        let routed_as = mapped.as_deref().unwrap_or(&task);
        let registered = self.defaults(routed_as);
        let unregistered = match (registered, def) {
            (None, Some(def)) => Some(self.defaults_of(def)),
            _ => None,
        };
        let mut defaults = registered.or(unregistered.as_ref());
        match defaults {
            // A map takes queue and priority from the task that it runs, and no other option.
            Some(of_mapped) if mapped.is_some() => {
                options.fill_from(&of_mapped.routing_options());
                defaults = None;
            }
            Some(defaults) => options.fill_from(&defaults.options),
            None => {}
        }
        let config = self.config();
        if config.task_inherit_parent_priority && options.priority.is_none() {
            options.priority = parent.as_ref().and_then(|parent| parent.priority);
        }
        self.router().fill(routed_as, &arguments, &mut options);
        let destination = self.router().destination(&options)?;
        let timelimit = limits(&task, &options)?;
        let ignored = ignored(config.task_ignore_result, &options, defaults, by_name);
        let policy = PublishPolicy::of_call(config, &options);
        let times = Times::of(&task, &options, self.clock().now(), self.zone())?;
        let mut unset = RareOptions::default();
        let rare = options.rare.as_deref_mut().unwrap_or(&mut unset);
        let able = self.broker().capabilities();
        write_numbers_of_links(rare, able.priority_order)?;
        let id = options.task_id.take().unwrap_or_else(TaskId::random);
        if id.as_str().trim().is_empty() {
            let text = format!("call {task} with the task id {:?}: an id needs a character", id.as_str());
            return Err(Error::new(ErrorKind::Call, text));
        }
        let name = defaults.map(|defaults| defaults.name.clone()).filter(|name| **name == *task);
        let mut headers = Headers::default();
        headers.lang = Some(Cow::Borrowed("py"));
        headers.task = Some(name.unwrap_or_else(|| Arc::from(&*task)));
        headers.id = Some(id.clone());
        headers.shadow = rare.shadow.take();
        headers.eta = times.eta_text;
        headers.expires = times.expires_text;
        headers.group = rare.group_id.take();
        headers.group_index = rare.group_index;
        headers.retries = rare.retries.unwrap_or_default();
        headers.timelimit = timelimit;
        headers.root_id =
            rare.root_id.take().or_else(|| parent.as_ref().map(|p| p.root_id.clone())).or_else(|| Some(id.clone()));
        headers.parent_id = rare.parent_id.take().or_else(|| parent.map(|parent| parent.id));
        headers.argsrepr = Some(rare.argsrepr.take().unwrap_or_else(|| args_repr(&arguments.args)));
        headers.kwargsrepr = Some(rare.kwargsrepr.take().unwrap_or_else(|| kwargs_repr(&arguments.kwargs)));
        headers.origin = Some(self.origin().clone());
        headers.ignore_result = if by_name { options.ignore_result } else { Some(ignored) };
        headers.replaced_task_nesting = rare.replaced_task_nesting.unwrap_or_default();
        headers.stamped_headers = (!rare.stamps.is_empty()).then(|| rare.stamps.keys().cloned().collect());
        headers.stamps = std::mem::take(&mut rare.stamps);
        headers.extra = std::mem::take(&mut rare.headers);
        trace_context::inject(&mut headers, false);
        let mut properties = Properties::default();
        properties.correlation_id = Some(id.shared());
        properties.reply_to = Some(rare.reply_to.take().unwrap_or_else(|| self.reply_to().clone()));
        properties.delivery_mode = Some(options.delivery_mode.unwrap_or(config.task_default_delivery_mode));
        let priority = options.priority.or(config.task_default_priority);
        let missing = (!able.orders_missing_priority).then_some(0);
        properties.priority = priority.map(|priority| priority.number(able.priority_order)).or(missing);
        properties.expiration = times.expiration;
        properties.extra = std::mem::take(&mut rare.properties);
        let add_to_parent = rare.add_to_parent.unwrap_or(true);
        let mut body = Body::new(arguments.args, arguments.kwargs);
        body.embed = embed(rare);
        let mut message = Message::new(properties, headers, bytes::Bytes::new());
        self.encode(&body, options.serializer.as_deref(), options.compression.as_deref(), &mut message).map_err(
            |error| Error::new(ErrorKind::Codec, format!("encode the message of {task}[{id}]")).with_source(error),
        )?;
        let outgoing = Outgoing::new(destination.exchange, destination.routing_key, message).at(times.eta);
        Ok(PreparedMessage { id, outgoing, ignored, add_to_parent, policy })
    }
}

impl Publisher {
    /// What calls take from a task that is not registered here, but known by its definition.
    fn defaults_of(&self, def: &'static TaskDef) -> SendDefaults {
        let config = self.config();
        let options = (def.options)().overlay(config.task_annotations.of(def.name));
        SendDefaults::of(def.name.into(), &options, config.task_ignore_result)
    }
}

/// The task that a map or starmap runs. The message of the map is routed as a message of that task (Celery:
/// `route_name`).
fn mapped_task(task: &str, arguments: &Arguments) -> Option<Arc<str>> {
    if task != "celery.map" && task != "celery.starmap" {
        return None;
    }
    let inner = arguments.kwargs.iter().find(|(name, _)| name == "task").map(|(_, inner)| inner)?;
    WireSignature::from_json(inner.as_bytes()).ok().map(|inner| inner.task)
}

/// Writes the broker's numbers for the priorities of what follows the task: a message has no words.
fn write_numbers_of_links(rare: &mut RareOptions, order: PriorityOrder) -> Result<()> {
    for signature in rare.link.iter_mut().chain(&mut rare.link_error) {
        write_numbers(signature, order)?;
    }
    if let Some(steps) = &mut rare.chain {
        write_numbers_behind(steps, order)?;
    }
    match &mut rare.chord {
        // The members of a header share the body.
        Some(body) if may_have_words(body) => write_numbers(Arc::make_mut(body), order),
        _ => Ok(()),
    }
}

/// The links of the message.
fn embed(rare: &mut RareOptions) -> Embed {
    let filled = |links: &mut Vec<WireSignature>| Some(std::mem::take(links)).filter(|links| !links.is_empty());
    let mut embed = Embed::default();
    embed.callbacks = filled(&mut rare.link);
    embed.errbacks = filled(&mut rare.link_error);
    embed.chain = rare.chain.take();
    embed.chord = rare.chord.take();
    embed
}

/// Whether the caller knows that no result is stored. A call by name does not know the options of its task.
fn ignored(setting: bool, options: &CallOptions, defaults: Option<&SendDefaults>, by_name: bool) -> bool {
    let of_task = || match (by_name, defaults) {
        (true, _) => false,
        (false, Some(defaults)) => defaults.ignore_result,
        (false, None) => setting,
    };
    options.ignore_result.unwrap_or_else(of_task)
}

/// The time limits of the message; zero leaves a limit to the task.
fn limits(task: &str, options: &CallOptions) -> Result<TimeLimit> {
    let positive = |seconds: Option<f64>| seconds.filter(|seconds| *seconds > 0.0);
    let limit = TimeLimit { hard: positive(options.time_limit), soft: positive(options.soft_time_limit) };
    match (limit.hard, limit.soft) {
        (Some(hard), Some(soft)) if soft > hard => Err(Error::new(
            ErrorKind::Call,
            format!(
                "call {task} with a soft time limit of {soft} s above its hard one of {hard} s: the soft one must be reached first"
            ),
        )),
        _ => Ok(limit),
    }
}

/// The times of a call as the message has them.
#[derive(Default)]
struct Times {
    eta: Option<Timestamp>,
    eta_text: Option<String>,
    expires_text: Option<String>,
    expiration: Option<String>,
}

impl Times {
    fn of(task: &str, options: &CallOptions, now: Timestamp, zone: &TimeZone) -> Result<Self> {
        let after = |what: &str, span: Duration| {
            now.checked_add(span).map(When::from).map_err(|_| {
                let text =
                    format!("call {task} with {what} {} s from now: that is beyond the year 9999", span.as_secs_f64());
                Error::new(ErrorKind::Call, text)
            })
        };
        let eta = match options.countdown {
            Some(span) if !span.is_zero() => Some(after("an eta", span)?),
            Some(_) => None,
            None => options.eta,
        };
        let mut times =
            Self { eta: eta.map(|eta| eta.at), eta_text: eta.map(|eta| text(eta, zone)), ..Self::default() };
        let (at, ttl) = match options.expires {
            None => return Ok(times),
            Some(Expires::In(span)) => (after("an expiry", span)?, span.as_millis()),
            Some(Expires::At(when)) => {
                let ttl = Duration::try_from(when.at.duration_since(now)).unwrap_or_default();
                if ttl.is_zero() {
                    tracing::warn!(task, expires = %when.at, "the call expired before it was sent; the task will not run");
                }
                (when, ttl.as_millis())
            }
        };
        times.expires_text = Some(text(at, zone));
        times.expiration = Some(ttl.to_string());
        Ok(times)
    }
}

/// An instant as the message has it: with the offset that the caller gave, else in the zone of the settings.
fn text(when: When, zone: &TimeZone) -> String {
    match when.offset {
        Some(offset) => timestamp::format_in(when.at, &TimeZone::fixed(offset)),
        None => timestamp::format_in(when.at, zone),
    }
}
