//! The options of a result backend: Celery's `result_backend_transport_options`, and Apium's own.

use apium_transport::address::Address;
use apium_transport::driver::DriverOptions;
use apium_transport::error::Result;
use apium_transport::raw_options::RawOptions;

use crate::keys::result_keys::ResultKeys;
use crate::options::target::{Discovery, Target};
use crate::options::without_meaning::WITHOUT_MEANING;

/// A result backend as its address and options describe it.
#[derive(Debug, Clone)]
pub(crate) struct BackendOptions {
    pub(crate) target: Target,
    pub(crate) keys: ResultKeys,
    /// Whether a chord's body gets the results in the order of the header, or else in the order in which the parts
    /// ended (`result_chord_ordered`).
    pub(crate) chord_ordered: bool,
}

impl BackendOptions {
    pub(crate) fn read(address: &Address, options: &DriverOptions) -> Result<Self> {
        let mut raw = RawOptions::new(address, &options.extra, WITHOUT_MEANING);
        let target = Target::read(address, options, &mut raw)?;
        // As Celery: a prefix without a separator at its end gets one.
        let mut prefix = raw.text("global_keyprefix")?.unwrap_or_default();
        if !prefix.is_empty() && !prefix.ends_with([':', '_', '-', '.']) {
            prefix.push('_');
        }
        if let Discovery::Cluster { tag } = &target.discovery {
            prefix = format!("{{{tag}}}{prefix}");
        }
        let chord_ordered = raw.flag("result_chord_ordered")?.unwrap_or(true);
        raw.refuse_unread()?;
        Ok(Self { target, keys: ResultKeys::new(&prefix), chord_ordered })
    }
}
