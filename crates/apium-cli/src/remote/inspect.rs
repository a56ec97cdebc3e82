//! `inspect`: asks workers.

use crate::exit::Result;
use crate::remote::ask::{Asked, Words, ask};
use crate::remote::catalog::CommandKind;
use crate::session::Session;

/// Options of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inspect active
  inspect stats -d w1@host --json
  inspect query_task 8f1c… 2b7d…
  inspect registered rate_limit max_retries

Each reply is printed when it comes. Nobody replied: exit code 69.")]
pub(crate) struct Args {
    #[command(flatten)]
    words: Words,
}

/// Asks.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let Some(Asked { name, command: given, .. }) = args.words.read(CommandKind::Inspect, &session.app)? else {
        return Ok(());
    };
    let options = &args.words.options;
    let question = options.inspect(&session.app).request(&given.name, given.arguments);
    ask(session, options, name, question, true).await
}
