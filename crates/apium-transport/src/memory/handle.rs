//! What the parts of the driver call themselves: the scheme, the namespace, and the words of a handle that was closed.

use crate::address::Address;
use crate::error::{Error, ErrorKind};

/// The scheme of the memory driver's addresses.
pub(crate) const SCHEME: &str = "memory";

/// What names a store: all behind `memory://`, without the query.
pub(crate) fn namespace(address: &Address) -> &str {
    address.location()
}

/// The error of an operation on a closed handle.
pub(crate) fn closed_error(what: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("{what}: this handle of the memory driver was closed"))
}
