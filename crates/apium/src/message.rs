//! Messages and values as they travel, for serializers, compressions and layers of your own.

pub use apium_protocol::codecs::accept::Accept;
pub use apium_protocol::codecs::codecs::{Codecs, EncodedBody};
pub use apium_protocol::codecs::invocation::Invocation;
pub use apium_protocol::codecs::serializer::{Compression, Serializer};
pub use apium_protocol::error::{Error, ErrorKind, Result};
pub use apium_protocol::json::base64;
pub use apium_protocol::json::text::Json;
pub use apium_protocol::message::body::{Body, Embed};
pub use apium_protocol::message::envelope::{
    Envelope, encode as encode_envelope, mark_redelivered, unmark_redelivered,
};
pub use apium_protocol::message::headers::{Headers, TimeLimit};
pub use apium_protocol::message::message::Message;
pub use apium_protocol::message::properties::Properties;
pub use apium_protocol::message::signature::Signature;
pub use apium_protocol::message::steps_behind::StepsBehind;
pub use apium_protocol::message::task_id::TaskId;
pub use apium_protocol::timestamp;
pub use apium_protocol::value::deserialize::ValueError;
pub use apium_protocol::value::python_types::{Bytes, Date, DateTime, Decimal, Time, Uuid};
pub use apium_protocol::value::repr::repr_value;
pub use apium_protocol::value::value::Value;
