//! How a command is found and called, and the list of all commands.

use std::sync::Arc;
use std::time::Duration;

use apium_app::error::{Error, ErrorKind};
use apium_protocol::message::control::ControlRequest;
use serde::Serialize;

use crate::control::call::ControlCall;
use crate::control::commands::arguments::GivenArguments;
use crate::control::commands::run_commands::reply;
use crate::control::commands::table::{COMMANDS, find};
use crate::control::controlled::{Answer, Controlled};
use crate::control::own_commands::OwnControlCommands;
use crate::control::python_error::{PythonError, error_reply};

/// How long a command may take that waits for a store, or is one's own.
const LATER_TIMEOUT: Duration = Duration::from_secs(30);

/// Does what a request asks of a worker. Never waits.
pub(crate) fn answer(controlled: &Arc<Controlled>, request: ControlRequest) -> Answer {
    let ControlRequest { method, arguments, .. } = &request;
    let answer = match find(method) {
        Some(command) => GivenArguments::read(&command.parameters, arguments)
            .and_then(|arguments| (command.run)(controlled, &arguments, &request)),
        None => match controlled.own.find(method) {
            Some(own) => {
                let running = (own.run)(ControlCall::new(controlled.node.clone(), arguments.clone()));
                Ok(Answer::Later(Box::pin(async move { running.await.unwrap_or_else(|error| error_reply(&error)) })))
            }
            None => Err(PythonError::new("KeyError", method)),
        },
    };
    match answer {
        Ok(Answer::Later(later)) => Answer::Later(Box::pin(async move {
            let timed = tokio::time::timeout(LATER_TIMEOUT, later).await;
            timed.unwrap_or_else(|_| {
                let text = format!("the command did not end within {LATER_TIMEOUT:?}");
                PythonError::new("TimeoutError", &text).into_reply()
            })
        })),
        Ok(answer) => answer,
        Err(error) => Answer::Reply(error.into_reply()),
    }
}

/// Checks that each command of one's own has a name to itself.
///
/// # Errors
/// [`ErrorKind::Config`] with the name.
pub(crate) fn check_names(own: &OwnControlCommands) -> Result<(), Error> {
    let wrong = |name: &str, why: &str| {
        let context = format!("add the control command \"{name}\": {why}; choose another name");
        Err(Error::new(ErrorKind::Config, context))
    };
    for (index, command) in own.0.iter().enumerate() {
        let name = &*command.name;
        if name.trim().is_empty() {
            return wrong(name, "its name is empty");
        }
        if find(name).is_some() {
            return wrong(name, "every worker has a command of this name");
        }
        if own.0[..index].iter().any(|earlier| earlier.name == name) {
            return wrong(name, "there are two of this name");
        }
    }
    Ok(())
}

/// All commands, for lists: name, kind, arguments and what each does.
pub(crate) fn control_commands(
    controlled: &Arc<Controlled>,
    _: &GivenArguments<'_>,
    _: &ControlRequest,
) -> Result<Answer, PythonError> {
    #[derive(Serialize)]
    struct Shown<'a> {
        name: &'a str,
        /// `inspect` or `control`.
        kind: &'static str,
        arguments: Vec<String>,
        help: &'a str,
        /// Whether it is one of the app's own.
        own: bool,
    }
    let kind = |inspects| if inspects { "inspect" } else { "control" };
    let builtin = COMMANDS.iter().map(|command| Shown {
        name: command.parameters.name,
        kind: kind(command.inspects),
        arguments: command
            .parameters
            .required
            .iter()
            .map(ToString::to_string)
            .chain(command.parameters.optional.iter().map(|name| format!("[{name}]")))
            .collect(),
        help: command.help,
        own: false,
    });
    let own = controlled.own.0.iter().map(|command| Shown {
        name: &command.name,
        kind: kind(command.inspects),
        arguments: Vec::new(),
        help: &command.help,
        own: true,
    });
    reply(&builtin.chain(own).collect::<Vec<_>>())
}
