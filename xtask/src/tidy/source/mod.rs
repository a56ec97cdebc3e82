//! Reads a Rust source without a compiler: its code, comments and texts apart, the paths it mentions, the names it declares.

pub(crate) mod declarations;
pub(crate) mod mask;
pub(crate) mod paths;
pub(crate) mod rust;
pub(crate) mod scan;
