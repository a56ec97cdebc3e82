//! Celery's words and bytes: messages, results, signatures, states, serializers and compression. No I/O, no clock, no
//! environment, no tokio. See `spec` notes in each module for the Celery behaviour it follows.

pub mod codecs;
pub mod error;
pub mod json;
pub mod message;
pub mod result;
pub mod timestamp;
pub mod value;
