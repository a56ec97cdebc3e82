//! What all handles share: the scheme, the namespace of an address, and the error of a closed handle.

use crate::address::Address;
use crate::error::{Error, ErrorKind};

/// The scheme of the memory driver's addresses.
pub(crate) const SCHEME: &str = "memory";

/// The namespace of an address: what follows `memory://`, without the query.
pub(crate) fn namespace(address: &Address) -> &str {
    address.location()
}

/// The error of an operation on a closed handle.
pub(crate) fn closed_error(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what}: this handle of the memory driver was closed"))
}
