//! The options of a result backend: Celery's `result_backend_transport_options`, and a few of Apium's own.

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;

use crate::keys::result_keys::ResultKeys;
use crate::options::raw::RawOptions;
use crate::options::target::{Discovery, Target};

/// A result backend as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BackendOptions {
    pub(crate) target: Target,
    pub(crate) keys: ResultKeys,
    /// Whether the results of a chord's header come in its order, or in the order of their ends (`result_chord_ordered`).
    pub(crate) chord_ordered: bool,
}

impl BackendOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut given = RawOptions::new(address, &options.extra);
        let target = Target::read(address, options, &mut given)?;
        // Celery puts a separator behind a prefix that ends in none.
        let mut prefix = given.take("global_keyprefix").unwrap_or_default();
        if !prefix.is_empty() && !prefix.ends_with([':', '_', '-', '.']) {
            prefix.push('_');
        }
        if let Discovery::Cluster { tag } = &target.discovery {
            prefix = format!("{{{tag}}}{prefix}");
        }
        let chord_ordered = given.bool("result_chord_ordered")?.unwrap_or(true);
        given.refuse_unread()?;
        Ok(Self { target, keys: ResultKeys::new(&prefix), chord_ordered })
    }
}
