//! Whether and when a task runs again. It is pure: the time and the random numbers are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::result::exception::ExceptionInfo;
use apium_protocol::value::repr::{args_repr, kwargs_repr};
use fastrand::Rng;
use jiff::Timestamp;

use crate::context::request::{Request, RetryRequest};
use crate::failure::Failure;
use crate::options::effective_options::EffectiveOptions;
use crate::options::task_options::Backoff;
use crate::task::arguments::ParameterList;
use crate::task::registered::RegisteredTask;

/// Why a task may have to run again.
#[derive(Debug)]
pub enum RetryWish<'a> {
    /// The task asked for it.
    Asked(&'a RetryRequest),
    /// The task failed. Its `autoretry_for` may match the error.
    Failed(Failure),
}

/// Whether a task runs again; made by [`decide_retry`].
#[derive(Debug, Clone)]
pub enum RetryPlan {
    /// It runs again.
    Retry(Box<NextRun>),
    /// No retry is left: the task fails with the cause, or with `MaxRetriesExceededError` if there is none.
    Exceeded(Failure),
    /// Nothing asks for a retry: the task fails.
    NotWanted(Failure),
}

macro_rules! next_run {
    ({ $($name:ident [$($doc:tt)+] ($type:ty) $argument:tt $value:tt;)+ }) => {
        /// How the next run differs from this one. But for `eta`, what is `None` stays as it is in the request.
        #[derive(Debug, Clone, Default)]
        #[non_exhaustive]
        pub struct NextRun {
            /// The number of retries, this one included.
            pub retries: u32,
            /// The earliest start. `None` is now, without an eta in the message.
            pub eta: Option<Timestamp>,
            /// Other positional arguments: new ones, or those of the old ones that new keyword arguments leave.
            pub args: Option<Vec<Json>>,
            /// Other keyword arguments: new ones, or those of the old ones that new positional arguments leave.
            pub kwargs: Option<Vec<(String, Json)>>,
            $( #[doc = concat!($($doc)+)] pub $name: Option<$type>, )+
            /// Further headers.
            pub headers: BTreeMap<String, Json>,
            /// The error that caused it, which is stored with RETRY.
            pub cause: Option<Failure>,
        }

        impl NextRun {
            /// The run that a task asks for, with this number of retries and this earliest start.
            fn of(retry: &RetryRequest, retries: u32, eta: Option<Timestamp>) -> Self {
                Self {
                    retries,
                    eta,
                    args: retry.args.clone(),
                    kwargs: retry.kwargs.clone(),
                    $( $name: retry.$name.clone(), )+
                    headers: retry.headers.clone(),
                    cause: retry.cause.clone(),
                }
            }
        }
    };
}
apium_options::options! { retry => next_run }

impl NextRun {
    /// Removes old arguments that would give a parameter a second value, where only the positional or only the keyword
    /// arguments are new. The new value counts, and every other argument stays.
    fn for_parameters(mut self, parameters: &ParameterList, request: &Request) -> Self {
        let names = parameters.named.iter().take(parameters.positional()).map(|parameter| parameter.name);
        let (args, kwargs) = (&request.body.args, &request.body.kwargs);
        match (&self.args, &self.kwargs) {
            (Some(args), None) => {
                let by_position: Vec<&str> = names.take(args.len()).collect();
                if kwargs.iter().any(|(name, _)| by_position.contains(&name.as_str())) {
                    let others = kwargs.iter().filter(|(name, _)| !by_position.contains(&name.as_str()));
                    self.kwargs = Some(others.cloned().collect());
                }
            }
            (None, Some(new)) => {
                let is_new = |name: &str| new.iter().any(|(own, _)| own == name);
                if let Some(first) = names.clone().take(args.len()).position(is_new) {
                    // A positional argument after the first new one can only stay as a keyword argument.
                    let after_first = names.zip(args).skip(first).filter(|(name, _)| !is_new(name));
                    let named: Vec<_> = after_first.map(|(name, value)| (name.to_owned(), value.clone())).collect();
                    self.args = Some(args.iter().take(first).cloned().collect());
                    self.kwargs.get_or_insert_default().extend(named);
                }
            }
            _ => {}
        }
        self
    }
}

/// Decides whether a task runs again, when, and with which arguments.
///
/// The limit counts retries, not runs: `max_retries = 3` allows four runs. The delay is the one that the task asks for,
/// else the backoff where it applies, else the task's default.
pub fn decide_retry(
    request: &Request,
    task: &RegisteredTask,
    wish: RetryWish<'_>,
    now: Timestamp,
    rng: &mut Rng,
) -> RetryPlan {
    let automatic;
    let retry = match wish {
        RetryWish::Asked(retry) => retry,
        RetryWish::Failed(failure) if !task.judgement_of(&failure).autoretry => return RetryPlan::NotWanted(failure),
        RetryWish::Failed(failure) => {
            let backoff = task.effective.retry_backoff != Backoff::Off;
            automatic = RetryRequest { cause: Some(failure), automatic: true, backoff, ..RetryRequest::default() };
            &automatic
        }
    };
    match next_run(request, &task.name, &task.effective, retry, now, rng) {
        Ok(next) => RetryPlan::Retry(Box::new(next.for_parameters(&task.parameters, request))),
        Err(exceeded) => RetryPlan::Exceeded(exceeded),
    }
}

/// The next run, or the failure of the task when the limit of retries is reached.
fn next_run(
    request: &Request,
    name: &str,
    effective: &EffectiveOptions,
    retry: &RetryRequest,
    now: Timestamp,
    rng: &mut Rng,
) -> Result<NextRun, Failure> {
    let limit = retry.max_retries.unwrap_or(match retry.automatic {
        true => effective.autoretry_max_retries,
        false => effective.max_retries,
    });
    if limit.is_some_and(|limit| request.retries() >= limit) {
        let exceeded = || max_retries_exceeded(request, name, retry);
        return Err(retry.cause.clone().unwrap_or_else(exceeded));
    }
    let eta = retry.eta.or_else(|| after(now, delay(request.retries(), effective, retry, rng)));
    Ok(NextRun::of(retry, request.retries().saturating_add(1), eta))
}

/// The instant after a delay. A delay of zero has no eta; one past the last instant that can be written is that
/// instant.
fn after(now: Timestamp, delay: Duration) -> Option<Timestamp> {
    (!delay.is_zero()).then(|| now.saturating_add(delay).unwrap_or(Timestamp::MAX))
}

fn delay(retries: u32, effective: &EffectiveOptions, retry: &RetryRequest, rng: &mut Rng) -> Duration {
    if let Some(countdown) = retry.countdown {
        return countdown;
    }
    if retry.backoff {
        let factor = match effective.retry_backoff {
            Backoff::Exponential(factor) => factor.max(1),
            Backoff::Off => 1,
        };
        return backoff_delay(factor, retries, effective.retry_backoff_max, effective.retry_jitter.then_some(rng));
    }
    match retry.automatic {
        true => effective.autoretry_delay,
        false => effective.default_retry_delay,
    }
}

/// `factor · 2^retries` seconds, at most `max`. With random numbers it is a whole number of seconds from zero to that
/// (full jitter).
fn backoff_delay(factor: u32, retries: u32, max: Duration, rng: Option<&mut Rng>) -> Duration {
    let doubled = 1_u64.checked_shl(retries).unwrap_or(u64::MAX).saturating_mul(u64::from(factor));
    let bound = Duration::from_secs(doubled).min(max);
    match rng {
        Some(rng) => Duration::from_secs(rng.u64(0..=bound.as_secs())),
        None => bound,
    }
}

/// The failure of a task that has no retry left and gave no cause, with the class and the text of Celery.
fn max_retries_exceeded(request: &Request, name: &str, retry: &RetryRequest) -> Failure {
    let args = retry.args.as_deref().unwrap_or(&request.body.args);
    let kwargs = retry.kwargs.as_deref().unwrap_or(&request.body.kwargs);
    let text = format!(
        "Can't retry {name}[{}] args:{} kwargs:{}",
        request.id().map_or("None", |id| id.as_str()),
        args_repr(args),
        kwargs_repr(kwargs),
    );
    Failure::from_exception(ExceptionInfo::max_retries_exceeded(&text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::json::text::Json;
    use fastrand::Rng;
    use jiff::Timestamp;

    use super::{NextRun, backoff_delay, next_run};
    use crate::context::request::{Request, RetryRequest};
    use crate::failure::Failure;
    use crate::options::effective_options::{EffectiveOptions, TaskDefaults};
    use crate::options::task_options::{Backoff, TaskOptions};
    use crate::task::arguments::{Parameter, ParameterList};

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn request(retries: u32) -> Request {
        let mut request = Request::direct();
        request.headers.id = Some("the-id".into());
        request.headers.retries = retries;
        request.body.args = vec![Json::from_serialize(&2).unwrap(), Json::from_serialize("a").unwrap()];
        request
    }

    fn attempt(retries: u32, options: TaskOptions, retry: &RetryRequest) -> Result<NextRun, Failure> {
        let effective = EffectiveOptions::resolve(&options, &TaskDefaults::default()).unwrap();
        next_run(&request(retries), "proj.t", &effective, retry, Timestamp::UNIX_EPOCH, &mut Rng::with_seed(7))
    }

    fn allowed(retries: u32, options: TaskOptions, retry: &RetryRequest) -> NextRun {
        match attempt(retries, options, retry) {
            Ok(next) => next,
            Err(failure) => panic!("refused: {failure}"),
        }
    }

    /// The delay in seconds; `None` is no eta.
    fn wait(retries: u32, options: TaskOptions, retry: &RetryRequest) -> Option<i64> {
        allowed(retries, options, retry).eta.map(|eta| eta.as_second())
    }

    fn automatic() -> RetryRequest {
        RetryRequest { automatic: true, ..RetryRequest::default() }
    }

    #[test]
    fn max_retries_counts_retries_not_runs() {
        let by_hand = RetryRequest::default();
        // (limit of the task, limit of the call, retries so far, allowed)
        let table = [
            (Some(Some(3)), None, 0, true),
            (Some(Some(3)), None, 2, true),
            (Some(Some(3)), None, 3, false),
            (None, None, 2, true),
            (None, None, 3, false),
            (Some(Some(0)), None, 0, false),
            (Some(None), None, 1_000_000, true),
            (Some(Some(3)), Some(Some(1)), 1, false),
            (Some(Some(3)), Some(Some(5)), 4, true),
            (Some(Some(3)), Some(None), 1_000_000, true),
        ];
        for (task, call, retries, allowed) in table {
            let options = TaskOptions { max_retries: task, ..TaskOptions::NEW };
            let retry = RetryRequest { max_retries: call, ..by_hand.clone() };
            assert_eq!(attempt(retries, options, &retry).is_ok(), allowed, "{task:?} {call:?} {retries}");
        }
    }

    #[test]
    fn automatic_retries_have_their_own_limit() {
        let options = || TaskOptions { retry_kwargs_max_retries: Some(Some(1)), ..TaskOptions::NEW };
        assert!(attempt(1, options(), &automatic()).is_err());
        assert!(attempt(1, options(), &RetryRequest::default()).is_ok());
    }

    #[test]
    fn past_the_limit_the_cause_is_the_failure() {
        let cause = Failure::of_class("builtins.KeyError", "k");
        let retry = RetryRequest { cause: Some(cause), ..RetryRequest::default() };
        match attempt(3, TaskOptions::NEW, &retry) {
            Err(failure) => assert_eq!(failure.exception().exc_type, "KeyError"),
            Ok(_) => panic!("no retry is left"),
        }
    }

    #[test]
    fn past_the_limit_without_a_cause_it_is_max_retries_exceeded() {
        match attempt(3, TaskOptions::NEW, &RetryRequest::default()) {
            Err(failure) => {
                let exception = failure.exception();
                assert_eq!(exception.exc_type, "MaxRetriesExceededError");
                assert_eq!(exception.exc_module.as_deref(), Some("celery.exceptions"));
                let text: String = exception.exc_message[0].decode().unwrap();
                assert_eq!(text, "Can't retry proj.t[the-id] args:(2, 'a') kwargs:{}");
            }
            Ok(_) => panic!("no retry is left"),
        }
    }

    #[test]
    fn the_next_run_has_one_retry_more() {
        assert_eq!(allowed(0, TaskOptions::NEW, &RetryRequest::default()).retries, 1);
        assert_eq!(allowed(2, TaskOptions::NEW, &RetryRequest::default()).retries, 3);
    }

    #[test]
    fn a_retry_by_hand_waits_as_asked_or_the_default_delay() {
        let retry = |countdown: Option<u64>, eta: Option<i64>| RetryRequest {
            countdown: countdown.map(S),
            eta: eta.map(|at| Timestamp::from_second(at).unwrap()),
            ..RetryRequest::default()
        };
        let own = || TaskOptions { default_retry_delay: Some(S(30)), ..TaskOptions::NEW };
        assert_eq!(wait(0, TaskOptions::NEW, &retry(None, None)), Some(1800));
        assert_eq!(wait(0, own(), &retry(None, None)), Some(30));
        assert_eq!(wait(0, own(), &retry(Some(5), None)), Some(5));
        assert_eq!(wait(0, own(), &retry(Some(0), None)), None, "zero means at once");
        assert_eq!(wait(0, own(), &retry(Some(5), Some(77))), Some(77), "an eta beats a countdown");
    }

    #[test]
    fn an_automatic_retry_without_backoff_is_not_delayed_unless_a_delay_is_named() {
        let options = |delay: Option<u64>, countdown: Option<u64>| TaskOptions {
            default_retry_delay: delay.map(S),
            retry_kwargs_countdown: countdown.map(S),
            ..TaskOptions::NEW
        };
        assert_eq!(wait(0, options(None, None), &automatic()), None);
        assert_eq!(wait(0, options(Some(30), None), &automatic()), Some(30));
        assert_eq!(wait(0, options(Some(30), Some(7)), &automatic()), Some(7));
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let options = || TaskOptions {
            retry_backoff: Some(Backoff::Exponential(3)),
            retry_jitter: Some(false),
            max_retries: Some(None),
            retry_kwargs_countdown: Some(S(7)),
            ..TaskOptions::NEW
        };
        let retry = RetryRequest { backoff: true, ..automatic() };
        let waits: Vec<_> = (0..10).map(|retries| wait(retries, options(), &retry).unwrap()).collect();
        assert_eq!(waits, [3, 6, 12, 24, 48, 96, 192, 384, 600, 600]);
        assert_eq!(wait(200, options(), &retry), Some(600), "large counts do not overflow");
    }

    #[test]
    fn backoff_of_a_retry_by_hand_works_where_the_task_has_none() {
        let options = TaskOptions { retry_jitter: Some(false), ..TaskOptions::NEW };
        let retry = RetryRequest { backoff: true, ..RetryRequest::default() };
        assert_eq!(wait(2, options, &retry), Some(4));
    }

    #[test]
    fn jitter_is_a_whole_number_of_seconds_up_to_the_delay_and_reaches_both_ends() {
        let mut rng = Rng::with_seed(1);
        let mut seen = [false; 7];
        for _ in 0..500 {
            let delay = backoff_delay(3, 1, S(600), Some(&mut rng));
            assert_eq!(delay.subsec_nanos(), 0);
            *seen.get_mut(usize::try_from(delay.as_secs()).unwrap()).expect("at most six seconds") = true;
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn the_next_run_has_the_options_that_the_retry_gives() {
        let retry = RetryRequest {
            args: Some(vec![Json::NULL]),
            queue: Some("slow".into()),
            priority: Some(3),
            time_limit: Some(9.0),
            ..RetryRequest::default()
        };
        let next = allowed(0, TaskOptions::NEW, &retry);
        assert_eq!(next.args.unwrap(), [Json::NULL]);
        assert!(next.kwargs.is_none());
        assert_eq!((next.queue.as_deref(), next.priority, next.time_limit), (Some("slow"), Some(3), Some(9.0)));
    }

    #[test]
    fn a_new_argument_replaces_the_old_one_of_its_parameter_and_the_others_stay() {
        static LIST: ParameterList = ParameterList {
            function: "t",
            named: &[Parameter::required("x"), Parameter::required("y"), Parameter::optional("z")],
            var_args: false,
            var_kwargs: true,
        };
        type Kwargs = &'static [(&'static str, i64)];
        let number = |n: &i64| Json::from_serialize(n).unwrap();
        let args = |args: &[i64]| args.iter().map(number).collect::<Vec<_>>();
        let kwargs = |kwargs: Kwargs| kwargs.iter().map(|(k, n)| ((*k).to_owned(), number(n))).collect::<Vec<_>>();
        // (inherited, new, what is sent)
        type Both = (&'static [i64], Kwargs);
        type New = (Option<&'static [i64]>, Option<Kwargs>);
        let table: [(Both, New, Both); 7] = [
            ((&[1], &[("y", 2)]), (Some(&[7, 8]), None), (&[7, 8], &[])),
            ((&[1], &[("y", 2), ("z", 3)]), (Some(&[7, 8]), None), (&[7, 8], &[("z", 3)])),
            ((&[1, 2], &[]), (Some(&[7]), None), (&[7], &[])),
            ((&[1, 2, 3], &[]), (None, Some(&[("x", 7)])), (&[], &[("x", 7), ("y", 2), ("z", 3)])),
            ((&[1, 2, 3], &[]), (None, Some(&[("y", 7)])), (&[1], &[("y", 7), ("z", 3)])),
            ((&[1, 2], &[]), (None, Some(&[("z", 7), ("other", 8)])), (&[1, 2], &[("z", 7), ("other", 8)])),
            ((&[1], &[("y", 2)]), (Some(&[7]), Some(&[("y", 8)])), (&[7], &[("y", 8)])),
        ];
        for (inherited, new, wanted) in table {
            let mut request = request(0);
            (request.body.args, request.body.kwargs) = (args(inherited.0), kwargs(inherited.1));
            let next = NextRun { args: new.0.map(args), kwargs: new.1.map(kwargs), ..NextRun::default() };
            let next = next.for_parameters(&LIST, &request);
            let sent = (next.args.unwrap_or(request.body.args), next.kwargs.unwrap_or(request.body.kwargs));
            assert_eq!(sent, (args(wanted.0), kwargs(wanted.1)), "{inherited:?} then {new:?}");
        }
    }
}
