//! The driver against a real Redis.
