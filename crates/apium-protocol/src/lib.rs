//! Celery's words and bytes: messages, results, signatures, states, serializers and compression. No I/O, no clock, no
//! environment, no tokio. See `spec` notes in each module for the Celery behaviour it follows.

pub mod base64;
pub mod body;
pub mod codecs;
pub mod envelope;
pub mod error;
pub mod exception;
pub mod headers;
pub mod id;
pub mod json;
pub mod message;
pub mod properties;
pub mod record;
pub mod repr;
mod scan;
pub mod signature;
pub mod state;
mod text;
pub mod timestamp;
pub mod typed;
pub mod value;
mod wire;
