//! Reads a Rust source without a compiler: its code, comments and texts apart, the paths that it mentions, and the
//! names that it declares.

pub(crate) mod declarations;
pub(crate) mod mask;
pub(crate) mod paths;
pub(crate) mod rust;
pub(crate) mod scan;
pub(crate) mod signatures;
