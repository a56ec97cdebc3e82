//! The size of the pool.

use std::sync::Arc;

use apium_protocol::message::control::ControlRequest;

use crate::control::autoscaler::{MOST, resize};
use crate::control::commands::arguments::GivenArguments;
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::{PythonError, error_reply, ok_reply};
use crate::pool::kind::PoolKind;
use crate::pool::process::children::Children;

pub(crate) fn grow(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let more = arguments.count("n", 1)?;
    check_kind(controlled, "grow")?;
    if let Some(refusal) = refused_by_autoscaler(controlled, "pool_grow") {
        return Ok(refusal);
    }
    let runs = &controlled.process.runs;
    if runs.wanted_slots().saturating_add(more) > MOST {
        return Ok(Answer::Reply(error_reply(&format!("the pool grows to {MOST} slots at most"))));
    }
    resize(&controlled.process, &controlled.queues, |slots| slots + more);
    Ok(Answer::Reply(ok_reply("pool will grow")))
}

pub(crate) fn shrink(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let fewer = arguments.count("n", 1)?;
    check_kind(controlled, "shrink")?;
    if let Some(refusal) = refused_by_autoscaler(controlled, "pool_shrink") {
        return Ok(refusal);
    }
    let slots = controlled.process.runs.wanted_slots();
    if fewer >= slots {
        let text = format!("the pool has {slots} slots and keeps one at least; use cancel_consumer or shutdown");
        return Ok(Answer::Reply(error_reply(&text)));
    }
    resize(&controlled.process, &controlled.queues, |slots| slots.saturating_sub(fewer));
    Ok(Answer::Reply(ok_reply("pool will shrink")))
}

fn check_kind(controlled: &Controlled, method: &str) -> Result<(), PythonError> {
    match controlled.pool {
        PoolKind::Solo => {
            Err(PythonError::new("AttributeError", &format!("'TaskPool' object has no attribute '{method}'")))
        }
        _ => Ok(()),
    }
}

/// A worker that scales itself does not do what would be undone.
fn refused_by_autoscaler(controlled: &Controlled, method: &str) -> Option<Answer> {
    controlled.autoscaler.as_ref()?;
    let text = format!("{method} is not supported with autoscale. Adjust autoscale range instead.");
    Some(Answer::Reply(error_reply(&text)))
}

pub(crate) fn restart(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let process = &controlled.process;
    let pools = &process.executor.pools;
    if !process.settler.publisher.config().worker_pool_restarts || pools.children().next().is_none() {
        return Err(PythonError::value_error("Pool restarts not enabled"));
    }
    pools.children().for_each(Children::restart);
    Ok(Answer::Reply(ok_reply("reload started")))
}

pub(crate) fn autoscale(
    controlled: &Arc<Controlled>,
    arguments: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    let Some(autoscaler) = &controlled.autoscaler else {
        return Err(PythonError::value_error("Autoscale not enabled"));
    };
    let given = |name| arguments.get(name).map(|_| arguments.count(name, 0)).transpose();
    Ok(Answer::Reply(match autoscaler.set_range(given("max")?, given("min")?) {
        Ok(range) => ok_reply(&format!("autoscale now {}", range.text())),
        Err(text) => error_reply(&text),
    }))
}
