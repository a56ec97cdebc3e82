//! Serializers and compressions, by name.

pub mod accept;
pub(crate) mod builtin;
pub mod codecs;
pub mod invocation;
#[cfg(feature = "msgpack")]
pub(crate) mod msgpack;
pub(crate) mod refused;
pub mod serializer;
#[cfg(test)]
mod tests;
#[cfg(feature = "yaml")]
pub(crate) mod yaml;
