//! Logs, always on stderr, so that stdout is for results alone.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::args::{Global, LogFormat};
use crate::exit::{CommandError, Result};

/// Starts logging at the level asked for, or at `default`. A program that installed its own subscriber keeps it.
pub(crate) fn start(global: &Global, default: &str) -> Result<()> {
    let asked = global.loglevel.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives(asked)).map_err(|error| {
        CommandError::usage(format!("read the log level {asked:?}: {error}"))
            .hint("use error, warning, info, debug, trace, off, or a filter such as apium_worker=debug,info")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // Fails only when the program has a subscriber already, which is then the one to use.
    let _ = match global.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Celery's level names beside those of `tracing`.
fn directives(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" | "fatal" => "error".to_owned(),
        "notset" => "trace".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn celerys_level_names_are_understood() {
        for (given, meant) in
            [("WARNING", "warn"), ("CRITICAL", "error"), ("info", "info"), ("a=debug,warn", "a=debug,warn")]
        {
            assert_eq!(directives(given), meant);
        }
    }
}
