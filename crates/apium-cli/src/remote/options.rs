//! The options that all commands to workers have, with Celery's names.

use std::time::Duration;

use apium_app::app::app::App;
use apium_app::control::control::Control;
use apium_app::control::inspect::Inspect;

use crate::exit::{Code, CommandError};
use crate::time_arg::parse_seconds;

/// Commands that workers obey which start later, too.
const KEPT: [&str; 7] = [
    "revoke",
    "terminate",
    "revoke_by_stamped_headers",
    "unrevoke",
    "unrevoke_by_stamped_headers",
    "pause_queue",
    "resume_queue",
];

/// Whom a command is for, and how long to wait.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoteOptions {
    /// How long to wait for the next reply, in seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "1", allow_negative_numbers = true)]
    timeout: Duration,
    /// Only these nodes, separated by commas: w1@host,w2@host
    #[arg(short, long, value_name = "NODES", value_delimiter = ',')]
    destination: Vec<String>,
}

impl RemoteOptions {
    /// Commands for those who are meant.
    pub(crate) fn control(&self, app: &App) -> Control {
        app.control().destination(self.destination.clone()).timeout(self.timeout)
    }

    /// Questions for those who are meant.
    pub(crate) fn inspect(&self, app: &App) -> Inspect {
        app.inspect().destination(self.destination.clone()).timeout(self.timeout)
    }

    /// What is said when nobody replied, with Celery's exit code.
    pub(crate) fn no_reply(&self, command: &str) -> CommandError {
        let of_whom = match self.destination.as_slice() {
            [] => "no node replied".to_owned(),
            nodes => format!("none of {} replied", nodes.join(", ")),
        };
        let text = format!("get a reply to {command}: {of_whom} within {} s", self.timeout.as_secs_f64());
        let hint = match command {
            _ if KEPT.contains(&command) && self.destination.is_empty() => {
                "the broker keeps it: workers that start later obey it, and so do those that were too busy to reply"
            }
            "status" => "no worker runs on this broker, or all are busy: wait longer with --timeout",
            _ => "check with `status` which workers run, and wait longer with --timeout where they are busy",
        };
        CommandError::new(Code::NoReply, text).hint(hint)
    }
}
