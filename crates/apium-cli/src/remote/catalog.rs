//! The commands that workers know, with their arguments as they stand on a command line.

use apium_app::config::read::nearest;
use apium_protocol::json::text::Json;
use apium_protocol::value::printable::printable;
use apium_protocol::value::value::Value;
use apium_worker::control::call::ListedCommand;

use crate::exit::{CommandError, Result};

/// Whether a command asks or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind {
    Inspect,
    Control,
}

impl CommandKind {
    /// The subcommand it belongs to.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Control => "control",
        }
    }
}

/// How an argument is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Int,
    Float,
    Bool,
}

/// A command that every worker knows.
#[derive(Debug)]
pub(crate) struct KnownCommand {
    pub(crate) name: &'static str,
    pub(crate) kind: CommandKind,
    /// Its arguments, for the help.
    pub(crate) signature: &'static str,
    pub(crate) help: &'static str,
    arguments: &'static [(&'static str, Type)],
    /// How many of them must be there.
    required: usize,
    /// The argument that takes all that follow.
    variadic: Option<&'static str>,
}

const fn command(kind: CommandKind, name: &'static str, signature: &'static str, help: &'static str) -> KnownCommand {
    KnownCommand { name, kind, signature, help, arguments: &[], required: 0, variadic: None }
}

const fn inspect(name: &'static str, signature: &'static str, help: &'static str) -> KnownCommand {
    command(CommandKind::Inspect, name, signature, help)
}

const fn control(name: &'static str, signature: &'static str, help: &'static str) -> KnownCommand {
    command(CommandKind::Control, name, signature, help)
}

impl KnownCommand {
    const fn takes(self, arguments: &'static [(&'static str, Type)], required: usize) -> Self {
        Self { arguments, required, ..self }
    }

    const fn rest(self, variadic: &'static str) -> Self {
        Self { variadic: Some(variadic), ..self }
    }
}

/// All of them: those that ask, then those that change something, each sorted.
pub(crate) static KNOWN: &[KnownCommand] = &[
    inspect("active", "", "Tasks that run"),
    inspect("active_queues", "", "Queues that workers consume"),
    inspect("clock", "", "The logical clock"),
    inspect("conf", "[with_defaults=false]", "Settings, without secrets").takes(&[("with_defaults", Type::Bool)], 0),
    inspect("control_commands", "", "Commands that workers of Apium know, also those of the program"),
    inspect("memdump", "[samples=10]", "What samples of memory say").takes(&[("samples", Type::Int)], 0),
    inspect("memsample", "", "Memory in use"),
    inspect("objgraph", "[type=Request] [num=200 [max_depth=10]]", "Graph of objects (workers of Celery)")
        .takes(&[("type", Type::Text), ("num", Type::Int), ("max_depth", Type::Int)], 0),
    inspect("ping", "", "Who is there"),
    inspect("query_task", "[id1 [id2 [... [idN]]]]", "Where these tasks are").rest("ids"),
    inspect("registered", "[attr1 [attr2 [... [attrN]]]]", "Tasks that workers can run").rest("taskinfoitems"),
    inspect("report", "", "Versions, platform and settings"),
    inspect("reserved", "", "Tasks that wait for a slot"),
    inspect("revoked", "", "Ids of revoked tasks"),
    inspect("revoked_stamps", "", "Stamps whose tasks are revoked"),
    inspect("scheduled", "", "Tasks that wait for their eta"),
    inspect("stats", "", "Counters, pool and process"),
    control("add_consumer", "<queue> [exchange [type [routing_key]]]", "Consume one more queue").takes(
        &[("queue", Type::Text), ("exchange", Type::Text), ("exchange_type", Type::Text), ("routing_key", Type::Text)],
        1,
    ),
    control("autoscale", "[max [min]]", "Change the bounds of autoscaling")
        .takes(&[("max", Type::Int), ("min", Type::Int)], 0),
    control("cancel_consumer", "<queue>", "Consume a queue no longer").takes(&[("queue", Type::Text)], 1),
    control("disable_events", "", "Send no more events of tasks"),
    control("election", "<id> <topic> [action]", "Elect a worker")
        .takes(&[("id", Type::Text), ("topic", Type::Text), ("action", Type::Text)], 2),
    control("enable_events", "", "Send events of tasks"),
    control("heartbeat", "", "Send a heartbeat event now"),
    control("pause_queue", "<queue> [why …]", "Let no worker take messages of a queue, until it is resumed")
        .takes(&[("queue", Type::Text)], 1)
        .rest("reason"),
    control("pool_grow", "[N=1]", "Run N more tasks at once").takes(&[("n", Type::Int)], 0),
    control("pool_restart", "", "Start the processes of the pool anew"),
    control("pool_shrink", "[N=1]", "Run N fewer tasks at once").takes(&[("n", Type::Int)], 0),
    control("rate_limit", "<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>", "Change the rate limit of a task")
        .takes(&[("task_name", Type::Text), ("rate_limit", Type::Text)], 2),
    control("resume_queue", "<queue>", "Let workers take messages of a paused queue again")
        .takes(&[("queue", Type::Text)], 1),
    control("revoke", "[id1 [id2 [... [idN]]]]", "Do not run these tasks; also for workers that start later")
        .rest("task_id"),
    control(
        "revoke_by_stamped_headers",
        "[key1=value1 [key2=value2 [... [keyN=valueN]]]]",
        "Do not run tasks with one of these stamps",
    )
    .rest("headers"),
    control("shutdown", "", "Stop workers warm; they do not reply"),
    control("terminate", "<signal> [id1 [id2 [... [idN]]]]", "Revoke tasks, and terminate those that run")
        .takes(&[("signal", Type::Text)], 1)
        .rest("task_id"),
    control("time_limit", "<task_name> <soft_secs> [hard_secs]", "Change the time limits of a task")
        .takes(&[("task_name", Type::Text), ("soft", Type::Float), ("hard", Type::Float)], 2),
    control("unrevoke", "[id1 [id2 [... [idN]]]]", "Run these tasks again that were revoked").rest("task_id"),
    control(
        "unrevoke_by_stamped_headers",
        "[key1=value1 [key2=value2 [... [keyN=valueN]]]]",
        "Run tasks with these stamps again",
    )
    .rest("headers"),
];

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static KnownCommand> {
    KNOWN.iter().find(|command| command.name == name)
}

/// A command as it was given, with its arguments read.
#[derive(Debug, PartialEq)]
pub(crate) struct GivenCommand {
    pub(crate) name: String,
    /// By name, in Celery's order.
    pub(crate) arguments: Vec<(String, Json)>,
    /// What the last argument took of those that follow.
    pub(crate) others: Vec<String>,
}

/// Reads a command. One that is not built in takes `NAME=VALUE`, the values as JSON or else as text; `own` are those of
/// the program.
pub(crate) fn read(kind: CommandKind, name: &str, words: &[String], own: &[ListedCommand]) -> Result<GivenCommand> {
    let Some(known) = find(name) else {
        let meant = match own.iter().find(|own| own.name == name) {
            Some(own) => {
                check_kind(kind, kind_of(own), name)?;
                None
            }
            None => meant(kind, name, own),
        };
        let arguments = words.iter().map(|word| named(name, word, meant)).collect::<Result<_>>()?;
        if let Some(meant) = meant {
            // Workers may have commands of which this program does not know, so it is sent all the same.
            tracing::warn!("no command {} is known here; did you mean {meant}?", printable(name));
        }
        return Ok(GivenCommand { name: name.to_owned(), arguments, others: Vec::new() });
    };
    check_kind(kind, known.kind, name)?;
    let usage = |what: &str| {
        let text = format!("{} {name}: {what}", kind.name());
        CommandError::usage(text).hint(format!("its arguments are: {name} {}", known.signature))
    };
    if words.len() < known.required {
        return Err(usage("arguments are missing"));
    }
    if words.len() > known.arguments.len() && known.variadic.is_none() {
        return Err(usage("there are too many arguments"));
    }
    let mut arguments = Vec::new();
    for ((argument, kind), word) in known.arguments.iter().zip(words) {
        let value = value_of(*kind, word).ok_or_else(|| usage(&format!("\"{word}\" is no {argument}")))?;
        arguments.push(((*argument).to_owned(), value));
    }
    let others = words[known.arguments.len().min(words.len())..].to_vec();
    if known.variadic == Some("task_id")
        && let Some(word) = others.iter().find(|word| word.starts_with("terminate=") || word.starts_with("signal="))
    {
        let text = format!("control {name}: \"{word}\" is no id of a task");
        return Err(CommandError::usage(text).hint("`control terminate SIGNAL ID…` ends tasks that run"));
    }
    if let Some(variadic) = known.variadic {
        let list = others.iter().cloned().map(Value::Str).collect();
        arguments.push((variadic.to_owned(), Json::from_value(&Value::List(list))));
    }
    Ok(GivenCommand { name: name.to_owned(), arguments, others })
}

fn kind_of(own: &ListedCommand) -> CommandKind {
    if own.inspects { CommandKind::Inspect } else { CommandKind::Control }
}

/// Refuses a command under the other subcommand.
fn check_kind(asked: CommandKind, of_command: CommandKind, name: &str) -> Result<()> {
    if of_command == asked {
        return Ok(());
    }
    let text = format!("{} {name}: it is a command of `{}`", asked.name(), of_command.name());
    Err(CommandError::usage(text).hint(format!("use `{} {name}`", of_command.name())))
}

fn value_of(kind: Type, word: &str) -> Option<Json> {
    let value = match kind {
        Type::Text => Value::Str(word.to_owned()),
        Type::Int => Value::Int(word.parse().ok()?),
        Type::Float => Value::Float(word.parse().ok().filter(|number: &f64| number.is_finite())?),
        Type::Bool => Value::Bool(match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" | "on" => true,
            "false" | "no" | "0" | "off" => false,
            _ => return None,
        }),
    };
    Some(Json::from_value(&value))
}

/// The command of this kind that may have been meant by a name that there is not.
fn meant<'a>(kind: CommandKind, name: &str, own: &'a [ListedCommand]) -> Option<&'a str> {
    let known = KNOWN.iter().filter(|known| known.kind == kind).map(|known| known.name);
    nearest(name, known.chain(own.iter().filter(|own| kind_of(own) == kind).map(|own| &*own.name)))
}

/// Reads `NAME=VALUE`. `meant` is a command that takes other arguments, and that the caller may have meant.
fn named(command: &str, word: &str, meant: Option<&str>) -> Result<(String, Json)> {
    let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        let (text, hint) = match meant {
            Some(meant) => (format!("find the command {command}"), format!("did you mean {meant}?")),
            None => (
                format!("read \"{word}\" as an argument of {command}: it is no NAME=VALUE"),
                "a command that not every worker knows takes its arguments by name; --list shows the others".to_owned(),
            ),
        };
        return Err(CommandError::usage(text).hint(hint));
    };
    let value = Json::from_text(value).unwrap_or_else(|_| Json::from_value(&Value::Str(value.to_owned())));
    Ok((name.to_owned(), value))
}

/// What `--list` prints: the built-in commands and those of the program, sorted.
pub(crate) fn list(kind: CommandKind, own: &[ListedCommand]) -> Vec<String> {
    let title = match kind {
        CommandKind::Inspect => "Inspect Commands:",
        CommandKind::Control => "Control Commands:",
    };
    let known = KNOWN
        .iter()
        .filter(|command| command.kind == kind)
        .map(|command| (format!("{} {}", command.name, command.signature).trim_end().to_owned(), command.help));
    let own = own.iter().filter(|own| kind_of(own) == kind).map(|own| (own.name.clone(), &*own.help));
    let mut rows: Vec<(String, &str)> = known.chain(own).collect();
    rows.sort();
    let width = rows.iter().map(|(usage, _)| usage.chars().count()).max().unwrap_or_default();
    let row = |(usage, help): (String, &str)| format!("  {usage:<width$}  {help}");
    std::iter::once(title.to_owned()).chain(rows.into_iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(kind: CommandKind, name: &str, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = read(kind, name, &words, &[]).map_err(|error| error.to_string())?;
        Ok(found.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn arguments_are_read_by_place_and_type() {
        let table = [
            (CommandKind::Control, "rate_limit", vec!["t", "5/m"], r#"task_name="t" rate_limit="5/m""#),
            (CommandKind::Control, "time_limit", vec!["t", "1.5"], r#"task_name="t" soft=1.5"#),
            (CommandKind::Control, "terminate", vec!["KILL", "a", "b"], r#"signal="KILL" task_id=["a", "b"]"#),
            (CommandKind::Control, "pool_grow", vec![], ""),
            (CommandKind::Control, "pool_grow", vec!["2"], "n=2"),
            (CommandKind::Inspect, "conf", vec!["yes"], "with_defaults=true"),
            (CommandKind::Inspect, "query_task", vec![], "ids=[]"),
            (CommandKind::Control, "own", vec!["a=1", "b=x", "c=[true]"], r#"a=1 b="x" c=[true]"#),
        ];
        for (kind, name, words, expected) in table {
            assert_eq!(arguments(kind, name, &words).unwrap(), expected, "{name} {words:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_a_usage_error_with_the_arguments() {
        let table = [
            (CommandKind::Control, "rate_limit", vec!["t"], "missing", "<task_name> <rate_limit"),
            (CommandKind::Control, "pool_grow", vec!["many"], "\"many\" is no n", "[N=1]"),
            (CommandKind::Control, "pool_grow", vec!["1", "2"], "too many", "[N=1]"),
            (CommandKind::Inspect, "revoke", vec!["a"], "command of `control`", "use `control revoke`"),
            (CommandKind::Control, "own", vec!["x"], "no NAME=VALUE", "by name"),
            (CommandKind::Control, "revok", vec!["an-id"], "command revok", "did you mean revoke?"),
            (CommandKind::Control, "revoke", vec!["id", "terminate=true"], "no id of a task", "control terminate"),
        ];
        for (kind, name, words, what, hint) in table {
            let error = arguments(kind, name, &words).unwrap_err();
            assert!(error.contains(what) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn the_list_has_every_command_once_and_sorted() {
        for kind in [CommandKind::Inspect, CommandKind::Control] {
            let names: Vec<&str> =
                KNOWN.iter().filter(|command| command.kind == kind).map(|command| command.name).collect();
            assert!(names.is_sorted(), "{names:?}");
            assert_eq!(list(kind, &[]).len(), names.len() + 1);
        }
    }
}
