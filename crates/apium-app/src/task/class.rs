//! Task classes: types as tasks, for tasks that need fields (Celery: `class AddTask(Task): def run(…)`).

use std::future::Future;
use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature;
use serde::Serialize;

use crate::context::context::Ctx;
use crate::failure::Failure;
use crate::options::effective_options::EffectiveOptions;
use crate::options::task_options::TaskOptions;
use crate::task::argument_codec;
use crate::task::arguments::{Parameter, ParameterList};
use crate::task::definition::Returned;
use crate::task::into_arguments::{FromArguments, IntoArguments};
use crate::task::registered::{HookFn, HookSet, RegisteredTask, TaskBody};
use crate::task_error::TaskResult;

/// A task class. Register an instance with `AppBuilder::register_task`. All runs borrow that instance.
///
/// ```
/// # use apium_app::{context::context::Ctx, task::{arguments::Parameter, class::Task}, task_error::TaskResult};
/// struct Add { bonus: i64 }
///
/// impl Task for Add {
///     const NAME: &'static str = "proj.Add";
///     const PARAMETERS: &'static [Parameter] = &[Parameter::required("x"), Parameter::required("y")];
///     type Args = (i64, i64);
///     type Output = i64;
///
///     async fn run(&self, _ctx: &Ctx, (x, y): (i64, i64)) -> TaskResult<i64> {
///         Ok(x + y + self.bonus)
///     }
/// }
/// ```
pub trait Task: Send + Sync + 'static {
    /// The registered name.
    const NAME: &'static str;
    /// Further names of the task (`aliases`).
    const ALIASES: &'static [&'static str] = &[];
    /// The names of the wire parameters, one for each element of `Args`. A call may leave out those that are optional.
    /// They are read as `null` then, so their type is an `Option`.
    const PARAMETERS: &'static [Parameter] = <Self::Args as FromArguments>::PARAMETERS;

    /// The wire parameters, as a tuple.
    type Args: FromArguments + IntoArguments;
    /// What the task returns.
    type Output: Serialize + Send + 'static;

    /// The task's options. It is called once, when the app is built.
    fn options(&self) -> TaskOptions {
        TaskOptions::NEW
    }

    /// The body.
    fn run(&self, ctx: &Ctx, args: Self::Args) -> impl Future<Output = TaskResult<Self::Output>> + Send;

    /// Runs before the body. Its error fails or retries the task.
    fn before_start(&self, _ctx: &Ctx) -> impl Future<Output = TaskResult<()>> + Send {
        async { Ok(()) }
    }

    /// Runs when SUCCESS is stored. An error of it is logged and changes nothing, as with the hooks below.
    fn on_success(&self, _ctx: &Ctx, _result: &Json) -> impl Future<Output = TaskResult<()>> + Send {
        async { Ok(()) }
    }

    /// Runs when FAILURE is stored.
    fn on_failure(&self, _ctx: &Ctx, _failure: &Failure) -> impl Future<Output = TaskResult<()>> + Send {
        async { Ok(()) }
    }

    /// Runs when the retry is published and RETRY is stored, with the cause if there was one.
    fn on_retry(&self, _ctx: &Ctx, _cause: Option<&Failure>) -> impl Future<Output = TaskResult<()>> + Send {
        async { Ok(()) }
    }

    /// May change the signature that replaces the task, and returns it (Celery: `on_replace`). An error of it is the
    /// task's.
    fn on_replace(&self, _ctx: &Ctx, with: Signature) -> impl Future<Output = TaskResult<Signature>> + Send {
        async { Ok(with) }
    }

    /// Runs last, after SUCCESS or FAILURE.
    fn after_return(&self, _ctx: &Ctx, _returned: &Returned) -> impl Future<Output = TaskResult<()>> + Send {
        async { Ok(()) }
    }
}

/// The wire parameters of a task class.
pub(crate) fn parameters<T: Task>() -> ParameterList {
    let name = std::any::type_name::<T>();
    let function = name.rsplit("::").next().unwrap_or(name);
    ParameterList { function, named: T::PARAMETERS, var_args: false, var_kwargs: false }
}

/// A task class as the registry holds it. Its options are not resolved yet.
pub(crate) fn registered<T: Task>(task: T) -> RegisteredTask {
    const {
        assert!(
            T::PARAMETERS.len() == <T::Args as FromArguments>::PARAMETERS.len(),
            "PARAMETERS must name each element of Args"
        );
    }
    let location = std::any::type_name::<T>();
    let parameters = parameters::<T>();
    let options = task.options();
    let task = Arc::new(task);
    RegisteredTask {
        name: T::NAME.into(),
        aliases: T::ALIASES.iter().copied().map(Arc::from).collect(),
        parameters,
        options,
        effective: EffectiveOptions::default(),
        hooks: hooks(&task),
        needs: Vec::new(),
        takes_ctx: true,
        runner: task_body(task, parameters),
        location: location.to_owned(),
    }
}

fn task_body<T: Task>(task: Arc<T>, parameters: ParameterList) -> TaskBody {
    TaskBody::Async(Arc::new(move |ctx: Ctx| {
        let task = task.clone();
        Box::pin(async move {
            let args = T::Args::read(&parameters, &ctx)?;
            argument_codec::encode(task.run(&ctx, args).await?)
        })
    }))
}

fn hooks<T: Task>(task: &Arc<T>) -> HookSet {
    macro_rules! hook {
        (|$task:ident, $ctx:ident, $what:ident: $type:ty| $call:expr) => {{
            let task = task.clone();
            let hook: HookFn<$type, _> = Arc::new(move |$ctx: Ctx, $what: $type| {
                let $task = task.clone();
                Box::pin(async move { $call.await })
            });
            Some(hook)
        }};
    }
    HookSet {
        before_start: hook!(|task, ctx, _nothing: ()| task.before_start(&ctx)),
        on_success: hook!(|task, ctx, result: Json| task.on_success(&ctx, &result)),
        on_failure: hook!(|task, ctx, failure: Failure| task.on_failure(&ctx, &failure)),
        on_retry: hook!(|task, ctx, cause: Option<Failure>| task.on_retry(&ctx, cause.as_ref())),
        on_replace: hook!(|task, ctx, with: Signature| task.on_replace(&ctx, with)),
        after_return: hook!(|task, ctx, returned: Returned| task.after_return(&ctx, &returned)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use apium_protocol::json::text::Json;

    use super::{Task, registered};
    use crate::context::context::Ctx;
    use crate::context::request::Request;
    use crate::options::task_options::TaskOptions;
    use crate::task::arguments::Parameter;
    use crate::task::registered::TaskBody;
    use crate::task_error::TaskResult;

    struct Add {
        bonus: i64,
        successes: Arc<AtomicU32>,
    }

    impl Task for Add {
        const NAME: &'static str = "proj.Add";
        const PARAMETERS: &'static [Parameter] = &[Parameter::required("x"), Parameter::optional("y")];
        type Args = (i64, Option<i64>);
        type Output = i64;

        fn options(&self) -> TaskOptions {
            TaskOptions { acks_late: Some(true), ..TaskOptions::NEW }
        }

        async fn run(&self, _ctx: &Ctx, (x, y): Self::Args) -> TaskResult<i64> {
            Ok(x + y.unwrap_or(0) + self.bonus)
        }

        async fn on_success(&self, _ctx: &Ctx, result: &Json) -> TaskResult<()> {
            self.successes.fetch_add(result.decode()?, Ordering::Relaxed);
            Ok(())
        }
    }

    fn ctx(args: &[i64], kwargs: &[(&str, i64)]) -> Ctx {
        let mut request = Request::direct();
        request.body.args = args.iter().map(|arg| Json::from_serialize(arg).unwrap()).collect();
        request.body.kwargs =
            kwargs.iter().map(|(key, value)| ((*key).to_owned(), Json::from_serialize(value).unwrap())).collect();
        Ctx::for_request(request)
    }

    #[tokio::test]
    async fn a_task_class_runs_with_its_own_fields() {
        let successes = Arc::new(AtomicU32::new(0));
        let task = registered(Add { bonus: 10, successes: successes.clone() });
        assert_eq!((&*task.name, task.options.acks_late), ("proj.Add", Some(true)));
        let TaskBody::Async(run) = &task.runner else { panic!("a task class runs on tokio") };
        assert_eq!(run(ctx(&[1, 2], &[])).await.unwrap().as_str(), "13");
        assert_eq!(run(ctx(&[], &[("x", 1)])).await.unwrap().as_str(), "11");
        let error = run(ctx(&[], &[])).await.unwrap_err();
        assert!(format!("{error:?}").contains("Add() missing 1 required positional argument"), "{error:?}");
        let hook = task.hooks.on_success.as_ref().unwrap();
        hook(Ctx::direct(), Json::from_serialize(&13).unwrap()).await.unwrap();
        assert_eq!(successes.load(Ordering::Relaxed), 13);
    }
}
