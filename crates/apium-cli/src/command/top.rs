//! `top`: watches workers, tasks and queues in the terminal.

use std::time::Duration;

use crate::exit::Result;
use crate::session::Session;
use crate::time_arg::parse_seconds;
use crate::top::run::{TopOptions, watch};

/// Options of `top`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Keys: ? shows all of them, q ends. It asks workers as `inspect` does and listens to events, so \
it shows workers of Celery too. Tasks that have ended are shown only where workers send events (-E, or E in the view)."
)]
pub(crate) struct Args {
    /// How often workers and queues are asked, in seconds
    #[arg(short = 'F', long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "2")]
    freq: Duration,
}

impl Default for Args {
    fn default() -> Self {
        Self { freq: Duration::from_secs(2) }
    }
}

/// Watches until `q`.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    watch(&session.app, TopOptions { interval: args.freq.max(Duration::from_millis(200)) }).await
}
