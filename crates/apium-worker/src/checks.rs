//! What a worker refuses to start with: better an error now than a task that misbehaves later.

use apium_app::context::state_map::StateMap;
use apium_app::error::{Error, ErrorKind, Result};
use apium_app::task::registry::Registry;

/// Checks the tasks: every `State<T>` is there, and every soft limit can work (P8).
pub(crate) fn check(registry: &Registry, states: &StateMap) -> Result<()> {
    registry.check_states(states)?;
    let unseen: Vec<&str> = registry
        .iter()
        .filter(|task| task.effective.soft_time_limit.is_some() && task.is_blocking() && !task.takes_ctx)
        .map(|task| &*task.name)
        .collect();
    if unseen.is_empty() {
        return Ok(());
    }
    let context = format!(
        "start with a soft time limit on {}: a plain fn learns of it through its context only; take `ctx: &Ctx` and call \
         ctx.check()?, make it an async fn, or use time_limit alone",
        unseen.join(", ")
    );
    Err(Error::new(ErrorKind::Config, context))
}
