//! `status`: which workers are online.

use crate::exit::Result;
use crate::output::print;
use crate::remote::ask::conclude;
use crate::remote::options::RemoteOptions;
use crate::remote::reply_text;
use crate::session::Session;

/// Options of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Nobody replied: exit code 69.")]
pub(crate) struct Args {
    #[command(flatten)]
    options: RemoteOptions,
}

/// Asks who is there.
pub(crate) async fn run(session: &Session, args: Args) -> Result<()> {
    let mut ping = args.options.inspect(&session.app).ping();
    if !session.json {
        ping = ping.on_reply(|reply| {
            // Who stops reading gets no more of them.
            let _ = reply_text::chat(&reply.node, &reply.raw, false).iter().try_for_each(|line| print::line(line));
        });
    }
    let replies = ping.replies().await?;
    conclude(session, &args.options, "status", &replies, true)
}
