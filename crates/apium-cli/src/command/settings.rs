//! `settings`: prints the reference of the settings, made from their table.

use crate::exit::Result;
use crate::output::print;

/// Options of `settings`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Prints.
pub(crate) fn run(Args {}: &Args) -> Result<()> {
    print::lines(apium_app::config::reference::markdown().trim_end())
}
