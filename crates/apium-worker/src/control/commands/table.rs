//! The table of commands: names, parameters and what each does, as Celery has them.

use std::sync::Arc;

use apium_protocol::message::control::ControlRequest;

use crate::control::commands::arguments::{GivenArguments, Parameters};
use crate::control::commands::{
    dispatch, limit_commands, pool_commands, queue_commands, revoke_commands, run_commands, worker_commands,
};
use crate::control::controlled::{Answer, Controlled};
use crate::control::python_error::PythonError;

/// What a command does.
type Run = fn(&Arc<Controlled>, &GivenArguments<'_>, &ControlRequest) -> Result<Answer, PythonError>;

/// A command.
#[derive(Debug)]
pub(crate) struct ControlCommand {
    pub(crate) parameters: Parameters,
    /// Its other name.
    pub(crate) alias: Option<&'static str>,
    /// Whether it only looks.
    pub(crate) inspects: bool,
    /// What it does, in one line.
    pub(crate) help: &'static str,
    pub(crate) run: Run,
}

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static ControlCommand> {
    COMMANDS.iter().find(|command| command.parameters.name == name || command.alias == Some(name))
}

const fn inspect(name: &'static str, help: &'static str, run: Run) -> ControlCommand {
    let parameters = Parameters { name, required: &[], optional: &[], takes_others: true };
    ControlCommand { parameters, alias: None, inspects: true, help, run }
}

const fn control(name: &'static str, help: &'static str, run: Run) -> ControlCommand {
    ControlCommand { inspects: false, ..inspect(name, help, run) }
}

impl ControlCommand {
    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn takes(self, required: &'static [&'static str], optional: &'static [&'static str]) -> Self {
        let Parameters { name, takes_others, .. } = self.parameters;
        Self { parameters: Parameters { name, required, optional, takes_others }, ..self }
    }

    /// It takes no other arguments.
    const fn only(self) -> Self {
        let Parameters { name, required, optional, .. } = self.parameters;
        Self { parameters: Parameters { name, required, optional, takes_others: false }, ..self }
    }
}

/// All commands, by name.
pub(crate) static COMMANDS: &[ControlCommand] = &[
    inspect("active", "runs that go on", run_commands::active).alias("dump_active").takes(&[], &["safe"]),
    inspect("active_queues", "queues that the worker consumes", queue_commands::active_queues).only(),
    control("add_consumer", "consume one more queue", queue_commands::add_consumer)
        .takes(&["queue"], &["exchange", "exchange_type", "routing_key"]),
    control("autoscale", "change the bounds of autoscaling", pool_commands::autoscale)
        .takes(&[], &["max", "min"])
        .only(),
    control("cancel_consumer", "consume a queue no more", queue_commands::cancel_consumer).takes(&["queue"], &[]),
    inspect("clock", "the logical clock", worker_commands::clock),
    inspect("conf", "settings that do not have their defaults, without secrets", worker_commands::conf)
        .alias("dump_conf")
        .takes(&[], &["with_defaults"]),
    inspect("control_commands", "the commands of this worker", dispatch::control_commands),
    control("disable_events", "send no more events of tasks", worker_commands::disable_events).only(),
    control("election", "take no part in an election of workers", worker_commands::election)
        .takes(&["id", "topic"], &["action"]),
    control("enable_events", "send events of tasks", worker_commands::enable_events).only(),
    control("heartbeat", "send a heartbeat now", worker_commands::heartbeat).only(),
    inspect("hello", "exchange revoked tasks with another worker", worker_commands::hello)
        .takes(&["from_node"], &["revoked"]),
    inspect("memdump", "the memory that the process uses", worker_commands::memdump).takes(&[], &["samples"]),
    inspect("memsample", "the memory that the process uses", worker_commands::memsample),
    inspect("objgraph", "not available: there are no Python objects", worker_commands::objgraph)
        .takes(&[], &["num", "max_depth", "type"])
        .only(),
    control("pause_queue", "pause a queue for all workers", queue_commands::pause_queue)
        .takes(&["queue"], &["reason", "by"]),
    inspect("ping", "whether the worker answers", worker_commands::ping),
    control("pool_grow", "run more tasks at once", pool_commands::grow).takes(&[], &["n"]),
    control("pool_restart", "not available: it would run the same code", pool_commands::restart)
        .takes(&[], &["modules", "reload", "reloader"]),
    control("pool_shrink", "run fewer tasks at once", pool_commands::shrink).takes(&[], &["n"]),
    inspect("query_task", "where the worker has these tasks", run_commands::query_task).takes(&["ids"], &[]),
    control("rate_limit", "change how often a task may start", limit_commands::rate_limit)
        .takes(&["task_name", "rate_limit"], &[]),
    inspect("registered", "the tasks that the worker knows", worker_commands::registered)
        .alias("dump_tasks")
        .takes(&[], &["taskinfoitems", "builtins"]),
    inspect("report", "version, platform and settings", worker_commands::report).only(),
    inspect("reserved", "runs that wait for a slot or for their rate limit", run_commands::reserved)
        .alias("dump_reserved"),
    control("resume_queue", "let all workers consume a paused queue again", queue_commands::resume_queue)
        .takes(&["queue"], &[]),
    control("revoke", "do not run these tasks", revoke_commands::revoke).takes(&["task_id"], &["terminate", "signal"]),
    control("revoke_by_stamped_headers", "do not run tasks with these stamps", revoke_commands::by_stamps)
        .takes(&["headers"], &["terminate", "signal"]),
    inspect("revoked", "ids of revoked tasks", run_commands::revoked).alias("dump_revoked"),
    inspect("revoked_stamps", "stamps whose tasks are revoked", run_commands::revoked_stamps),
    inspect("scheduled", "runs that wait in the worker for their eta", run_commands::scheduled).alias("dump_schedule"),
    control("shutdown", "stop the worker warm", worker_commands::shutdown).takes(&[], &["msg"]),
    inspect("stats", "counters and facts of the worker", worker_commands::stats),
    control("terminate", "terminate the runs of these tasks", revoke_commands::terminate)
        .takes(&["signal", "task_id"], &[]),
    control("time_limit", "change the time limits of a task", limit_commands::time_limit)
        .takes(&[], &["task_name", "hard", "soft"]),
    control("unrevoke", "run these tasks again that were revoked", revoke_commands::unrevoke).takes(&["task_id"], &[]),
    control("unrevoke_by_stamped_headers", "run tasks with these stamps again", revoke_commands::unrevoke_by_stamps)
        .takes(&["headers"], &[]),
];

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;

    use super::*;

    #[test]
    fn every_name_is_there_once() {
        for (index, command) in COMMANDS.iter().enumerate() {
            for name in [Some(command.parameters.name), command.alias].into_iter().flatten() {
                let position =
                    COMMANDS.iter().position(|other| other.parameters.name == name || other.alias == Some(name));
                assert_eq!(position, Some(index), "{name}");
            }
        }
        assert!(
            COMMANDS.windows(2).all(|pair| pair[0].parameters.name < pair[1].parameters.name),
            "they are not sorted"
        );
    }

    #[test]
    fn wrong_arguments_are_those_of_python() {
        let error = |name: &str, given: &[&str]| {
            let given: Vec<_> = given.iter().map(|key| ((*key).to_owned(), Json::NULL)).collect();
            let error = GivenArguments::read(&find(name).unwrap().parameters, &given).unwrap_err();
            error.into_reply().decode::<serde_json::Value>().unwrap()["error"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            error("rate_limit", &["bogus"]),
            "TypeError(\"rate_limit() missing 2 required positional arguments: 'task_name' and 'rate_limit'\")"
        );
        assert_eq!(error("revoke", &[]), "TypeError(\"revoke() missing 1 required positional argument: 'task_id'\")");
        assert_eq!(error("report", &["x"]), "TypeError(\"report() got an unexpected keyword argument 'x'\")");
    }
}
