//! The context of the running task. By it a call inside a task becomes a child of that task, and a wait for a result
//! inside a task is refused.

use std::cell::RefCell;
use std::future::Future;

use apium_protocol::result::document::ResultTuple;

use crate::context::blocking_scope::BlockingScope;
use crate::context::context::Ctx;

tokio::task_local! {
    static RUNNING: Ctx;
    static JOIN_ALLOWED: ();
}

thread_local! {
    static ENTERED: RefCell<Vec<Ctx>> = const { RefCell::new(Vec::new()) };
    static JOIN_ALLOWED_ON_THREAD: RefCell<u32> = const { RefCell::new(0) };
}

/// Runs a task's future with `ctx` as its context.
pub fn scope<F: Future>(ctx: Ctx, future: F) -> impl Future<Output = F::Output> {
    RUNNING.scope(ctx, future)
}

/// Runs a plain task function on this thread with `ctx` as its context. The context is removed also when it panics.
pub fn enter<R>(ctx: Ctx, run: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            ENTERED.with_borrow_mut(|stack| drop(stack.pop()));
        }
    }
    ENTERED.with_borrow_mut(|stack| stack.push(ctx));
    let _leave = Leave;
    let _blocking = BlockingScope::enter();
    run()
}

/// The context of the running task, if there is one. A thread or a tokio task that the task spawned has none.
pub fn get() -> Option<Ctx> {
    ENTERED.with_borrow(|stack| stack.last().cloned()).or_else(|| RUNNING.try_with(Clone::clone).ok())
}

/// Records a result among the children of the running task, if there is one.
pub(crate) fn note_child(child: impl FnOnce() -> ResultTuple) {
    if let Some(ctx) = get() {
        ctx.add_children(child());
    }
}

/// Whether a plain task function runs on this thread, where blocking is allowed.
pub fn is_blocking() -> bool {
    BlockingScope::is_running()
}

/// Allows `get()` of results inside a task while `future` runs (Celery: `allow_join_result`). It is refused otherwise,
/// because it can deadlock: when all slots of a worker wait for tasks that need one of these slots, no task ends.
pub fn allow_join<F: Future>(future: F) -> impl Future<Output = F::Output> {
    JOIN_ALLOWED.scope((), future)
}

/// As [`allow_join`], for code that is not async, on this thread.
pub fn allow_join_blocking<R>(run: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            JOIN_ALLOWED_ON_THREAD.with_borrow_mut(|depth| *depth -= 1);
        }
    }
    JOIN_ALLOWED_ON_THREAD.with_borrow_mut(|depth| *depth += 1);
    let _leave = Leave;
    run()
}

/// Whether `get()` of a result may be called: outside a task, or where it is allowed.
pub fn may_join() -> bool {
    JOIN_ALLOWED.try_with(|()| ()).is_ok() || JOIN_ALLOWED_ON_THREAD.with_borrow(|depth| *depth > 0) || get().is_none()
}

#[cfg(test)]
mod tests {
    use super::{allow_join, allow_join_blocking, enter, get, is_blocking, may_join, scope};
    use crate::context::context::Ctx;

    #[tokio::test]
    async fn the_context_is_there_while_the_task_runs() {
        assert!(get().is_none());
        let ctx = Ctx::direct();
        let seen = scope(ctx.clone(), async { (get().is_some(), is_blocking(), may_join()) }).await;
        assert_eq!(seen, (true, false, false));
        assert!(get().is_none() && may_join());
    }

    #[test]
    fn a_plain_function_sees_its_context_and_a_panic_removes_it() {
        let outcome = std::panic::catch_unwind(|| {
            enter(Ctx::direct(), || {
                assert!(get().is_some() && is_blocking() && !may_join());
                panic!("on purpose");
            })
        });
        assert!(outcome.is_err());
        assert!(get().is_none() && !is_blocking());
    }

    #[tokio::test]
    async fn joining_is_allowed_only_inside_the_guard() {
        scope(Ctx::direct(), async {
            assert!(allow_join(async { may_join() }).await);
            assert!(allow_join_blocking(may_join));
            assert!(!may_join());
        })
        .await;
    }
}
