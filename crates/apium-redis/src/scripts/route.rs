//! Where a copy of a published message goes.

/// The property that tells the workers of Apium that a message on a fanout channel lies in their queue already.
pub(crate) const STORED_PROPERTY: &str = "apium_stored";

/// Where one copy of a message goes.
#[derive(Debug)]
pub(crate) enum PublishTarget {
    /// To the end of a list.
    List { list: String, envelope: Vec<u8> },
    /// Back to this list when it is due.
    Delayed { list: String, due: i64, envelope: Vec<u8> },
    /// To whoever listens now.
    Channel { channel: String, envelope: Vec<u8> },
}

/// A delivery tag: a UUID, as kombu makes them. It must be unlike all others and need not be a secret.
pub(crate) fn fresh_tag() -> String {
    let mut buffer = uuid::Uuid::encode_buffer();
    let bytes = fastrand::u128(..).to_ne_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().encode_lower(&mut buffer).to_owned()
}
