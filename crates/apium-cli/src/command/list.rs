//! `list`: what the broker can say of itself.

use crate::exit::{CommandError, Result};
use crate::session::Session;

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is listed.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// The bindings of queues to exchanges
    Bindings,
}

/// Says that the broker cannot: no driver of this build can list bindings.
pub(crate) fn run(session: &Session, args: &Args) -> Result<()> {
    match args.what {
        What::Bindings => {
            let text = format!("list bindings: the broker {} cannot say them", session.app.broker().address());
            Err(CommandError::usage(text)
                .hint("`queues` lists the queues, and `inspect active_queues` those that workers consume"))
        }
    }
}
