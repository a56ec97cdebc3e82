//! Which server an address means: forms of addresses, sentinels, clusters, encryption, and what is refused.

mod addresses;
mod bad_addresses;
mod clusters;
#[cfg(feature = "tls")]
mod encrypted;
mod sentinels;
