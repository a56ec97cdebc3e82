//! The options of the result backend `rpc://`.

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use apium_transport::raw_options::RawOptions;

use crate::options::target::Target;
use crate::options::without_meaning::WITHOUT_MEANING;

/// The scheme of the result backend.
pub(crate) const RPC: &str = "rpc";

/// A result backend as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BackendOptions {
    /// The servers; `None` is the broker of the same app, as Celery's `rpc://` means it.
    pub(crate) target: Option<Target>,
    /// Whether results survive a restart of the server (`result_persistent`; Celery's setting of this name).
    pub(crate) persistent: bool,
    /// The name of the queue for replies; by default one of this process alone.
    pub(crate) reply_queue: Option<String>,
}

impl BackendOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut raw = RawOptions::new(address, &options.extra, WITHOUT_MEANING);
        let is_of_broker = address.scheme() == RPC && address.location().is_empty();
        let plain = address.secret_text().replacen("rpc://", "amqp://", 1);
        let target = match is_of_broker {
            true => None,
            false => Some(Target::read(&Address::parse(&plain)?, options, &mut raw)?),
        };
        let persistent = raw.flag("result_persistent")?.unwrap_or(false);
        let reply_queue = raw.text("reply_queue")?;
        raw.refuse_unread()?;
        Ok(Self { target, persistent, reply_queue })
    }
}
