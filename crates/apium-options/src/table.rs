//! The table itself.
//!
//! It is in a crate of its own because two crates need it that do not depend on each other. `apium-macros` parses the
//! attribute `#[task]` by the names and the kinds of values, and names the nearest option for a wrong one. `apium-app`
//! makes the types and methods of the options from it. A procedural macro cannot read a `macro_rules!` of a crate that
//! uses it, and a file that two crates include would be missing in one of them once they are published. This crate has
//! no dependencies and is compiled before both.
//!
//! A new option is one row, and where its clause `resolved` or `named` names a setting, one row in the table of
//! settings (`config/table` of apium-app). A row is its name, its meaning, and clauses in this order, of which only the
//! last is required:
//!
//! - `attribute(Kind)`: `#[task]` takes it, as a value of that [`ValueKind`](crate::kind::ValueKind). With
//!   `in list as name` it is written in a list: `retry_kwargs(max_retries = 5)`. `stub(yes)`: `extern_task!` takes it
//!   too.
//! - `task(Type)`: a field of `TaskOptions`, unless the option is a part of the task's definition.
//! - `annotation(Type)`: `task_annotations` may set it, with a value of that type.
//! - `resolved(setting: Type = default)`: a field of `TaskDefaults`, which has the value of that setting, and a field
//!   of `EffectiveOptions`, which has the first of these: the annotation, the attribute, the setting.
//! - `named(setting: Type = default)`: a field of `TaskDefaults` only. `effective_options` derives other fields from
//!   it.
//! - `effective_only(Type = default)`: a field of `EffectiveOptions` only, for an option without a setting.
//! - `setting(name)`: the setting of an option that has no such field, for the reference page.
//! - `call(Type)` or `rare(Type)`: a field of `CallOptions` or of `RareOptions`. After it may come:
//!   - `from_task(yes)`: a call that does not set it takes it from its task, and `extern_task!` takes it;
//!   - `route(Type)`: `task_routes` may set it, with a value of that type;
//!   - `wire("form")` or `read("form")`: how messages and signatures carry it; with `read` it is read and not written;
//!   - `setter(name(argument: Type) = value)`: a method of every call and signature. A second text is added to its
//!     docs.
//! - `methods("text", wire "form")`: methods that set it and are not made from the table, and how messages carry what
//!   they set, for the reference page.
//! - `retry(Type; argument: Type = value)`: a field of `RetryRequest`, and a method of `RetryBuilder`.
//! - `default("text")`: its default, in words.
//!
//! The order of precedence is the same for all: the call, the annotation of the task, the annotation of `"*"`, the
//! attribute, the route, the setting, the default.

/// The table of the options of tasks and calls.
///
/// `options! { view => then context… }` calls the macro `then` with `context…` and a block that contains one view of
/// the table. The views are listed in `views.rs`.
#[macro_export]
macro_rules! options {
    ($view:ident => $then:ident $($context:tt)*) => { $crate::__option_views! { $view $then [$($context)*]

    // The name of a task.
    name "The name by which the task is registered and called: the header `task`."
        attribute(Text) stub(yes)
        default("the path of the module with dots, and the name of the function");
    namespace "The part of the task's name before the name of the function, in place of the module's path."
        attribute(Text) stub(yes)
        default("the path of the module");
    aliases "Further names by which a worker finds the task."
        attribute(Texts)
        default("none");

    // When the message is acknowledged.
    acks_late "Whether the message is acknowledged after the run rather than before it."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_acks_late: bool = false)
        default("false");
    acks_on_failure "With `acks_late`: whether the message of a failed run is acknowledged. If not, it goes to the dead set."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_acks_on_failure: bool = true)
        default("true");
    acks_on_timeout "With `acks_late`: whether the message of a run that hit its hard time limit is acknowledged. If not, it goes \
        back to its queue."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_acks_on_timeout: bool = true)
        default("true");
    reject_on_worker_lost "With `acks_late`: whether a run whose child process died begins again, in another child, until it has \
        killed as many as `worker_max_crashes` allows. If not, it fails. When a whole worker dies, its messages always go back."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_reject_on_worker_lost: bool = false)
        default("false");
    retry_on_worker_lost "Whether a run whose child process died is retried, after `default_retry_delay` and as often as `max_retries` \
        allows. It comes before `reject_on_worker_lost`."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_retry_on_worker_lost: bool = false)
        default("false");

    // What is stored and logged.
    track_started "Whether the state STARTED is stored when a run begins."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_track_started: bool = false)
        default("false");
    abortable "Whether a run does not begin when the task was aborted before (`AsyncResult::abort`, or Celery's \
        `AbortableAsyncResult`). The worker then reads the state before each run. It also does so where STARTED is stored."
        attribute(Flag) task(Option<bool>) annotation(bool) effective_only(bool = false)
        default("false");
    ignore_result "Whether no result is stored. Waiting for one then ends at once."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_ignore_result: bool = false)
        call(Option<bool>) route(bool) wire("true or false: header `ignore_result`")
        setter(ignore_result(ignore: bool) = ignore)
        default("false");
    store_errors_even_if_ignored "Whether failures are stored although results are ignored."
        attribute(Flag) task(Option<bool>) annotation(bool) resolved(task_store_errors_even_if_ignored: bool = false)
        default("false");
    send_events "Whether a worker that sends events of tasks sends those of this task."
        attribute(Flag) task(Option<bool>) annotation(bool) effective_only(bool = true)
        default("true");
    resultrepr_maxsize "How many characters of a result are logged."
        attribute(Count) task(Option<usize>) annotation(usize) effective_only(usize = 1024)
        default("1024");
    trail "Whether the tasks that a run sends are recorded as the children of its result."
        attribute(Flag) task(Option<bool>) annotation(bool) effective_only(bool = true)
        default("true");
    backend "The result backend of the task, as a URL."
        attribute(Text) task(Option<Cow<'static, str>>) annotation(String) setting(result_backend)
        default("the app's");

    // How it runs.
    isolation "Where the body runs: `\"process\"` is in a child process of the worker, whatever its pool is. The child may be killed at \
        any moment, and takes nothing with it but that run."
        attribute(Isolation) task(Option<Isolation>) annotation(Isolation) effective_only(Isolation = Isolation::None)
        default("none: in the worker's pool");
    rate_limit "How often the task may start, in each worker: two workers start it twice as often. A run whose turn is more than a \
        second away waits at the broker, where that can delay messages, and holds up no other task."
        attribute(Rate) task(Option<Cow<'static, str>>) annotation(RateText)
        resolved(task_default_rate_limit: Option<RateLimit> = None)
        default("none");
    time_limit "The hard time limit: a run that takes longer is ended and fails. In a call, zero means the limit of the task."
        attribute(Time) task(Option<Duration>) annotation(Duration)
        resolved(task_time_limit: Option<Duration> = None)
        call(Option<f64>) from_task(yes) route(Duration) wire("seconds: header `timelimit`, the first of two")
        setter(time_limit(limit: Duration) = limit.as_secs_f64())
        retry(f64; limit: Duration = limit.as_secs_f64())
        default("none");
    soft_time_limit "The soft time limit: the context of a run that takes longer says so, and the task can end in \
        order. It is at most the hard limit. In a call, zero means the limit of the task."
        attribute(Time) task(Option<Duration>) annotation(Duration)
        resolved(task_soft_time_limit: Option<Duration> = None)
        call(Option<f64>) from_task(yes) route(Duration) wire("seconds: header `timelimit`, the second of two")
        setter(soft_time_limit(limit: Duration) = limit.as_secs_f64())
        retry(f64; limit: Duration = limit.as_secs_f64())
        default("none");

    // Retries.
    max_retries "How many retries there may be; the first run does not count. `ctx.retry()` may give another limit."
        attribute(Limit) task(Option<Option<u32>>) annotation(Option<u32>) effective_only(Option<u32> = Some(3))
        default("3");
    default_retry_delay "How long a retry waits that has no time of its own. An automatic retry waits this long only if the \
        task or the setting sets it."
        attribute(Time) task(Option<Duration>) annotation(Duration)
        named(task_default_retry_delay: Option<Duration> = None)
        default("1800 s");
    autoretry_for "Error types that are retried automatically, also where such an error is the source of another one."
        attribute(Errors) task(Cow<'static, [ErrorMatcher]>)
        default("none");
    dont_autoretry_for "Error types that are not retried automatically, even if `autoretry_for` has them."
        attribute(Errors) task(Cow<'static, [ErrorMatcher]>)
        default("none");
    retry_kwargs_max_retries "How many automatic retries there may be."
        attribute(Limit in retry_kwargs as max_retries) task(Option<Option<u32>>) annotation(Option<u32>)
        default("`max_retries`");
    retry_kwargs_countdown "How long an automatic retry waits without `retry_backoff`."
        attribute(Time in retry_kwargs as countdown) task(Option<Duration>) annotation(Duration)
        default("`default_retry_delay` if it is set, else no wait");
    retry_backoff "Whether automatic retries wait longer each time: this factor times 2^retries seconds, with the number of \
        retries so far."
        attribute(Backoff) task(Option<Backoff>) annotation(Backoff) effective_only(Backoff = Backoff::Off)
        default("false");
    retry_backoff_max "The longest wait of `retry_backoff`."
        attribute(Time) task(Option<Duration>) annotation(Duration) effective_only(Duration = Duration::from_secs(600))
        default("600 s");
    retry_jitter "Whether the wait of `retry_backoff` is a random number of whole seconds from zero to the computed wait."
        attribute(Flag) task(Option<bool>) annotation(bool) effective_only(bool = true)
        default("true");
    throws "Error types that are expected: they are stored as FAILURE, and logged without a traceback."
        attribute(Errors) task(Cow<'static, [ErrorMatcher]>)
        default("none");

    // Hooks.
    before_start "Runs before the task, with the context. An error of it fails or retries the task."
        attribute(Hook) default("none");
    on_success "Runs when SUCCESS is stored, with the context and what the task returned."
        attribute(Hook) default("none");
    on_failure "Runs when FAILURE is stored, with the context and the failure."
        attribute(Hook) default("none");
    on_retry "Runs when a retry is published and RETRY is stored, with the context and the cause."
        attribute(Hook) default("none");
    on_replace "May change what replaces the task: it gets the context and the signature, and returns the signature. An error of it is the task's."
        attribute(Hook) default("none");
    after_return "Runs last, after SUCCESS or FAILURE, with the context and the state, value or failure of the task."
        attribute(Hook) default("none");

    // Where a message goes, and how it is encoded.
    queue "The name of the queue. The queue of a call or of a task replaces that of `task_routes`."
        attribute(Text) task(Option<Cow<'static, str>>) annotation(String) setting(task_default_queue)
        call(Option<Arc<str>>) from_task(yes) route(String)
        wire("text; not in the message, since it becomes the exchange and the routing key")
        setter(queue(name: impl AsRef<str>) = name.as_ref().into())
        retry(String; name: impl Into<String> = name.into())
        default("celery");
    exchange "The exchange."
        call(Option<Arc<str>>) route(String) wire("text; the message is published to it")
        setter(exchange(name: impl AsRef<str>) = name.as_ref().into())
        default("that of the queue");
    routing_key "The routing key."
        call(Option<Arc<str>>) route(String) wire("text; the message is published with it")
        setter(routing_key(key: impl AsRef<str>) = key.as_ref().into())
        default("that of the queue");
    priority "The priority: a number from 0 to 255, or a word. Memory and SQLite deliver larger numbers first, Redis smaller ones. \
        `urgent` is before all others and `background` after them, whichever broker it is."
        attribute(Priority) task(Option<Priority>) annotation(Priority) setting(task_default_priority)
        call(Option<Priority>) from_task(yes) route(Priority) wire("a number: property `priority`")
        setter(priority(priority: impl Into<Priority>) = priority.into())
        methods("`urgent()`, `background()`")
        retry(u8; priority: u8 = priority)
        default("none, which memory and SQLite deliver between 0 and 2; on Redis 0");
    delivery_mode "Whether the message outlives a restart of the broker: 2 if it does, 1 if it need not."
        call(Option<u8>) setting(task_default_delivery_mode) route(u8) wire("a number: property `delivery_mode`")
        setter(persistent(persistent: bool) = if persistent { 2 } else { 1 }, "True is 2, and false is 1.")
        default("2");
    serializer "The name of the serializer. Workers must have it in `accept_content`."
        attribute(Text) task(Option<Cow<'static, str>>) annotation(String) setting(task_serializer)
        call(Option<Cow<'static, str>>) from_task(yes) route(String) wire("text: property `content_type`")
        setter(serializer(name: impl Into<String>) = name.into().into())
        default("json");
    compression "The name of the compression. An empty text is none, also where the task or the settings have one."
        attribute(Text) task(Option<Cow<'static, str>>) annotation(String) setting(task_compression)
        call(Option<Cow<'static, str>>) from_task(yes) route(String) wire("text: header `compression`")
        setter(compression(name: impl Into<String>) = name.into().into())
        default("none");

    // When it runs.
    countdown "The earliest start, as a time from now; zero is at once. It replaces `eta`."
        call(Option<Duration>) route(Duration) wire("seconds; header `eta`")
        setter(countdown(wait: Duration) = wait)
        default("none");
    eta "The earliest start, as an instant. An instant in the past is at once."
        call(Option<When>) wire("ISO 8601 with an offset: header `eta`")
        setter(eta(at: impl Into<When>) = at.into())
        default("none");
    expires "The latest instant at which the task may start. After it, the task is not run and its state is REVOKED."
        attribute(Time) task(Option<Duration>) annotation(Duration)
        call(Option<Expires>) from_task(yes) route(Duration)
        wire("seconds, or ISO 8601 with an offset: header `expires`, and what is left of it as property `expiration`")
        setter(expires(at: impl Into<When>) = Expires::At(at.into()), "This takes an instant.")
        setter(expires_in(span: Duration) = Expires::In(span), "This takes how long from now.")
        retry(Timestamp; at: Timestamp = at)
        default("none");

    // How it is published.
    retry "Whether publishing is tried again when the broker cannot be reached."
        call(Option<bool>) setting(task_publish_retry) route(bool) read("true or false; not in the message")
        setter(retry(retry: bool) = retry)
        default("true");
    retry_policy "How publishing is tried again."
        call(Option<RetryPolicy>) setting(task_publish_retry_policy) route(RetryPolicy)
        setter(retry_policy(policy: RetryPolicy) = policy)
        default("3 retries within 0.6 s");
    publish_timeout "How long publishing may take, with all its retries. With a retry policy without limit it is the time for \
        each try."
        call(Option<Duration>) setting(broker_publish_timeout)
        setter(publish_timeout(limit: Duration) = limit)
        default("5 s");

    // Ids, relations, and names for logs.
    task_id "The id; any text. An id that was used before is accepted, and a SUCCESS that is stored under it stays."
        call(Option<TaskId>) wire("text: header `id`, property `correlation_id`")
        setter(task_id(id: impl Into<TaskId>) = id.into())
        default("a random UUID");
    root_id "The first task of the workflow."
        rare(Option<TaskId>) wire("text: header `root_id`")
        setter(root_id(id: impl Into<TaskId>) = id.into())
        default("that of the running task, else its own id");
    parent_id "The task that sends this one."
        rare(Option<TaskId>) wire("text: header `parent_id`")
        setter(parent_id(id: impl Into<TaskId>) = id.into())
        default("the running task");
    add_to_parent "Whether the call is recorded among the children of the running task."
        rare(Option<bool>) wire("true or false; not in the message")
        setter(add_to_parent(add: bool) = add)
        default("true");
    reply_to "Where Celery's RPC result backend sends the result."
        rare(Option<Arc<str>>) wire("text: property `reply_to`")
        setter(reply_to(queue: impl AsRef<str>) = queue.as_ref().into())
        default("an id of the app's own");
    shadow "Another name for logs and monitors. It does not change which task runs."
        rare(Option<String>) route(String) wire("text: header `shadow`")
        setter(shadow(name: impl Into<String>) = name.into())
        default("none");
    argsrepr "What logs show in place of the positional arguments, for example because those are secret."
        rare(Option<String>) wire("text: header `argsrepr`")
        setter(argsrepr(text: impl Into<String>) = text.into())
        default("the arguments in Python's notation");
    kwargsrepr "What logs show in place of the keyword arguments."
        rare(Option<String>) wire("text: header `kwargsrepr`")
        setter(kwargsrepr(text: impl Into<String>) = text.into())
        default("the arguments in Python's notation");
    headers "The caller's own headers. The task finds them in its request. A header with one of Celery's names replaces that \
        one."
        rare(BTreeMap<String, Json>) wire("a table: headers of its names")
        methods("`header(name, value)`")
        default("none");
    stamps "Stamps: headers by which all tasks of a workflow are found."
        rare(BTreeMap<String, Json>)
        methods("`stamp(name, value)`, `append_stamp(name, value)`, `stamp_with(visitor)`",
            wire "headers of these names, and their list `stamped_headers`")
        default("none");
    properties "Further properties of the message, such as `message_id` and `app_id`."
        rare(BTreeMap<String, Json>)
        methods("`property(name, value)`", wire "properties of these names")
        default("none");

    // What belongs to a workflow.
    link "Callbacks: tasks that run after this one succeeded, with its result as their first argument."
        rare(Vec<WireSignature>) wire("a list of signatures: `callbacks` beside the arguments")
        methods("`link(callback)`, `on_success(callback)`")
        default("none");
    link_error "Errbacks: tasks that run after this one failed."
        rare(Vec<WireSignature>) wire("a list of signatures: `errbacks` beside the arguments")
        methods("`link_error(errback)`, `on_error(errback)`")
        default("none");
    chain "The steps of the chain that follow, in reverse order: the next one is the last element."
        rare(Option<StepsBehind>) wire("a list of signatures: `chain` beside the arguments")
        default("none");
    chord "The body of the chord to whose header the task belongs."
        rare(Option<Arc<WireSignature>>) wire("a signature: `chord` beside the arguments")
        default("none");
    group_id "The id of the group to which the task belongs."
        rare(Option<String>) wire("text: header `group`")
        default("none");
    group_index "The position of the task in its group, from 0."
        rare(Option<i64>) wire("a number: header `group_index`")
        default("none");
    retries "How many retries there were."
        rare(Option<u32>) wire("a number: header `retries`")
        default("0");
    replaced_task_nesting "How many times the task was replaced by another one."
        rare(Option<u32>) wire("a number: header `replaced_task_nesting`")
        default("0");

    } };
}
