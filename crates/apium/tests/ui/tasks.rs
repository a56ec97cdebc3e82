//! Tasks of every shape that is allowed.

use std::collections::HashMap;
use std::time::Duration;

use apium::__private::TaskFn;
use apium::canvas::Signature;
use apium::message::Json;
use apium::task::{
    Args, Arguments, Ctx, Failure, FromContext, Keyword, Kwargs, OrRetry, Request, Returned, State, TaskError,
    TaskResult, TaskType,
};
use apium::{task, task_module};

#[derive(Debug)]
struct BadAddress;

impl std::fmt::Display for BadAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bad address")
    }
}

impl std::error::Error for BadAddress {}

#[derive(Clone)]
struct Pool;

struct Smtp;

impl FromContext for Smtp {
    fn from_context(_ctx: &Ctx) -> TaskResult<Self> {
        Ok(Self)
    }
}

#[task(name = "proj.tasks.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task]
fn xsum(xs: Vec<i64>) -> TaskResult<i64> {
    Ok(xs.iter().sum())
}

#[task]
fn nothing() {}

#[task]
async fn plain(text: String) -> String {
    text
}

#[task]
async fn parsed(text: String) -> Result<u8, std::num::ParseIntError> {
    text.parse()
}

#[task]
fn bare_result(text: String) -> std::io::Result<usize> {
    Ok(text.len())
}

#[task]
async fn echo(args: Args, kwargs: Kwargs) -> TaskResult<(usize, usize)> {
    Ok((args.len(), kwargs.len()))
}

#[task]
fn defaults(id: u8, #[default] comment: Option<String>, #[default(1.5)] seconds: f64) -> usize {
    usize::from(id) + comment.map_or(0, |comment| comment.len()) + seconds as usize
}

#[task]
fn keywords(r#type: String, mut count: u8) -> String {
    count += 1;
    format!("{type}{count}", type = r#type)
}

#[task]
async fn middle(x: u8, ctx: &Ctx, map: HashMap<String, u8>) -> TaskResult<u32> {
    Ok(u32::from(x) + ctx.request().retries() + map.len() as u32)
}

#[task(
    name = "proj.mail.send", aliases = ["mail.send_v1"], queue = "mail", priority = 6,
    acks_late, reject_on_worker_lost, track_started = true,
    rate_limit = "100/m", serializer = "json", compression = "zstd",
    ignore_result = false, store_errors_even_if_ignored,
    time_limit = "60s", soft_time_limit = 50.5, expires = "1h30m",
    max_retries = 8, default_retry_delay = "30s",
    autoretry_for(std::io::Error, std::fmt::Error), dont_autoretry_for(BadAddress),
    retry_kwargs(max_retries = none, countdown = "7s"),
    retry_backoff = 2, retry_backoff_max = "10m", retry_jitter = false,
    throws(BadAddress),
    before_start = open_span, on_success = log_ok, on_failure = alert, on_retry = count, after_return = audit,
)]
async fn send_mail(
    ctx: &Ctx,
    State(pool): State<Pool>,
    #[inject] smtp: Smtp,
    user_id: i64,
    #[default] subject: Option<String>,
) -> TaskResult<i64> {
    let _ = (pool, smtp, subject);
    std::fs::read("/nothing").or_retry(ctx, |r| r.backoff().max_retries(3))?;
    if user_id < 0 {
        return Err(BadAddress.into());
    }
    if user_id == 0 {
        return Err(TaskError::ignore());
    }
    if ctx.soft_limit().reached() {
        return Err(ctx.retry().countdown(Duration::from_secs(5)).into());
    }
    ctx.update_state("SENDING", [1, 2]).await?;
    Ok(user_id)
}

async fn open_span(_ctx: &Ctx) -> TaskResult<()> {
    Ok(())
}

async fn log_ok(_ctx: &Ctx, _result: &Json) {}

async fn alert(_ctx: &Ctx, _failure: &Failure) {}

async fn count(_ctx: &Ctx, _cause: Option<&Failure>) -> Result<(), std::io::Error> {
    Ok(())
}

async fn audit(_ctx: &Ctx, _returned: &Returned) {}

#[task(rate_limit = 2.5, max_retries = none, autoretry_for(any), retry_backoff)]
fn limits(ctx: Ctx) -> TaskResult<()> {
    ctx.check()
}

#[task_module(namespace = "proj.tasks")]
mod named {
    use apium::task;

    #[task]
    pub(super) fn inside() {}

    #[task(acks_late)]
    pub(super) fn late() {}

    #[apium::task(name = "own")]
    pub(super) fn own() {}
}

/// Parameters that are given by their names alone: without `Args` they have the attribute, after it they need none.
#[task]
fn by_keyword(
    x: i64,
    #[keyword] key: String,
    #[keyword]
    #[default(7)]
    level: i64,
    _rest: Kwargs,
) -> String {
    format!("{x} {key} {level}")
}

#[task]
fn after_rest(first: i64, rest: Args, #[default(3)] times: i64, key: String) -> String {
    format!("{first} {} {times} {key}", rest.len())
}

/// Runs a task's erased function on these positional arguments.
fn run<T: TaskType>(args: &[&str]) -> Result<String, String> {
    let mut request = Request::direct();
    request.body.args = args.iter().map(|arg| arg.parse().unwrap()).collect();
    let ctx = Ctx::for_request(request);
    let outcome = match T::def().run {
        TaskFn::Blocking(run) => run(ctx),
        TaskFn::Async(run) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(run(ctx))
        }
    };
    outcome.map(|json| json.to_string()).map_err(|error| format!("{error:?}"))
}

#[test]
fn the_erased_functions_bind_run_and_encode() {
    assert_eq!(run::<add>(&["1", "2"]).unwrap(), "3");
    assert!(run::<add>(&["1"]).unwrap_err().contains("add() missing 1 required positional argument"));
    assert!(run::<add>(&["1", "\"x\""]).unwrap_err().contains("expected i64"));
    assert_eq!(run::<xsum>(&["[1, 2, 3]"]).unwrap(), "6");
    assert_eq!(run::<nothing>(&[]).unwrap(), "null");
    assert_eq!(run::<plain>(&["\"a\""]).unwrap(), "\"a\"");
    assert_eq!(run::<parsed>(&["\"7\""]).unwrap(), "7");
    assert!(run::<parsed>(&["\"x\""]).unwrap_err().contains("ParseIntError"));
    assert_eq!(run::<bare_result>(&["\"abc\""]).unwrap(), "3");
    assert_eq!(run::<echo>(&["1", "2"]).unwrap(), "[2, 0]");
    assert_eq!(run::<defaults>(&["1"]).unwrap(), "2");
    assert_eq!(run::<defaults>(&["1", "\"ab\"", "4.0"]).unwrap(), "7");
    assert_eq!(run::<middle>(&["7", "{}"]).unwrap(), "7");
    assert_eq!(run::<limits>(&[]).unwrap(), "null");
    assert!(run::<send_mail>(&["7"]).unwrap_err().contains("no state of type"));
}

#[test]
fn parameters_by_keyword_are_sent_and_read_by_their_names() {
    let parameters = <by_keyword as TaskType>::def().parameters;
    assert_eq!((parameters.positional(), parameters.named.len()), (1, 3));
    let kwargs = |arguments: &Arguments| {
        arguments.kwargs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let signature = by_keyword::s(1, "k".into(), Keyword::default(), Kwargs::default());
    assert_eq!(signature.args().len(), 1);
    assert_eq!(kwargs(signature.arguments()), ["key=\"k\""], "what is left out is not sent");
    let signature = by_keyword::s(1, "k".into(), 5.into(), Kwargs::default());
    assert_eq!(kwargs(signature.arguments()), ["key=\"k\"", "level=5"]);
    let run = |signature: Signature<(), String>, of: fn(Ctx) -> TaskResult<Json>| {
        let mut request = Request::direct();
        request.body.args = signature.args().to_vec();
        request.body.kwargs = signature.kwargs().to_vec();
        of(Ctx::for_request(request)).unwrap().to_string()
    };
    let body = |def: &'static apium::task::TaskDef| match def.run {
        TaskFn::Blocking(run) => run,
        TaskFn::Async(_) => unreachable!("it is a plain fn"),
    };
    let of = body(<by_keyword as TaskType>::def());
    assert_eq!(run(signature, of), "\"1 k 5\"");
    assert_eq!(run(by_keyword::s_required(2, "r".into()), of), "\"2 r 7\"");
    let rest = Args::from_iter([Json::NULL, Json::NULL]);
    let signature = after_rest::s(1, rest, Keyword::default(), "k".into());
    assert_eq!((signature.args().len(), kwargs(signature.arguments())), (3, vec!["key=\"k\"".to_owned()]));
    assert_eq!(run(signature, body(<after_rest as TaskType>::def())), "\"1 2 3 k\"");
    assert!(self::run::<after_rest>(&["1"]).unwrap_err().contains("missing 1 required keyword-only argument: "));
    assert!(self::run::<by_keyword>(&["1", "2"]).unwrap_err().contains("takes 1 positional argument but 2 were given"));
}

#[test]
fn arguments_with_defaults_may_be_left_out_and_are_not_sent() {
    assert_eq!(defaults::s_required(1).args().len(), 1);
    assert_eq!(defaults::si_required(1).args().len(), 1);
    let _ = defaults::delay_required(1);
    let partial: Signature<u8, usize> = defaults::p_required();
    assert!(partial.args().is_empty());
    assert_eq!(echo::s_required().arguments(), &Arguments::default());
    let named = defaults::s_required(1).kwarg("seconds", 4.0);
    assert_eq!((named.args().len(), named.kwargs()[0].0.as_str()), (1, "seconds"));
    assert_eq!(run::<defaults>(&["1"]).unwrap(), "2", "the task has its own defaults");
}

#[test]
fn the_function_is_still_a_function() {
    assert_eq!(keywords("a".into(), 1), "a2");
    assert_eq!(defaults(1, None, 2.0), 3);
    nothing();
}

#[test]
fn the_type_beside_it_makes_calls_with_the_types_of_the_function() {
    assert_eq!(add::s(2, 3).arguments().args.iter().map(Json::as_str).collect::<Vec<_>>(), ["2", "3"]);
    let _ = add::delay(2, 2);
    assert_eq!(add::batch([(1, 1), (2, 2)]).len(), 2);
    assert_eq!(xsum::batch(vec![(vec![1],), (vec![2],)]).len(), 2);
    assert_eq!(send_mail::s(7, None).arguments().args.len(), 2);
    let rest = Args::from_iter([Json::NULL]);
    let keywords = Kwargs::from_iter([("k", Json::NULL)]);
    let signature = echo::s(rest, keywords);
    assert_eq!((signature.arguments().args.len(), signature.arguments().kwargs.len()), (1, 1));
    assert_eq!(middle::s(1, HashMap::new()).arguments().args.len(), 2);
}

#[test]
fn names_come_from_the_module_the_namespace_or_the_option() {
    assert_eq!(add::NAME, "proj.tasks.add");
    assert_eq!(xsum::NAME, "ui.tasks.xsum");
    assert_eq!(named::inside::NAME, "proj.tasks.inside");
    assert_eq!(named::late::NAME, "proj.tasks.late");
    assert_eq!(named::own::NAME, "own");
    named::inside();
    named::late();
    named::own();
}

#[test]
fn every_option_reaches_the_definition() {
    let def = <send_mail as TaskType>::def();
    assert_eq!(def.aliases, ["mail.send_v1"]);
    assert!(def.takes_ctx && def.hooks.after_return.is_some());
    assert_eq!(def.needs.iter().flatten().count(), 1);
    assert_eq!(def.parameters.named.iter().map(|p| p.name).collect::<Vec<_>>(), ["user_id", "subject"]);
    let options = (def.options)();
    assert_eq!((options.priority, options.acks_late, options.track_started), (Some(6.into()), Some(true), Some(true)));
    assert_eq!(options.expires, Some(Duration::from_secs(5400)));
    assert_eq!(options.soft_time_limit, Some(Duration::from_millis(50_500)));
    assert_eq!((options.max_retries, options.retry_kwargs_max_retries), (Some(Some(8)), Some(None)));
    let names = |matchers: &[apium::task::ErrorMatcher]| matchers.iter().map(|m| m.name()).collect::<Vec<_>>();
    assert_eq!(names(&options.autoretry_for), ["std::io::Error", "std::fmt::Error"]);
    assert_eq!((names(&options.dont_autoretry_for), names(&options.throws)), (vec!["BadAddress"], vec!["BadAddress"]));
    assert_eq!(<keywords as TaskType>::def().parameters.named[0].name, "type");
    let limits = (<limits as TaskType>::def().options)();
    assert_eq!((limits.rate_limit.as_deref(), limits.max_retries), (Some("2.5"), Some(None)));
    assert_eq!(names(&limits.autoretry_for), ["any"]);
}
