//! What Celery writes and reads: messages, results, signatures, states, serializers and compressions. This crate does
//! no I/O, reads no clock and no environment, and knows no runtime.

pub mod codecs;
pub mod error;
pub mod json;
pub mod message;
pub mod result;
pub mod timestamp;
pub mod value;
