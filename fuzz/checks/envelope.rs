//! Any bytes as kombu's envelope: the result is a message or an error, and marking changes only the mark.

use apium_protocol::message::envelope::{Envelope, encode, mark_redelivered, unmark_redelivered};
use bytes::Bytes;

/// Reads, marks, unmarks and writes.
pub(crate) fn check(data: &[u8]) {
    let marked = mark_redelivered(data);
    assert_eq!(marked.is_ok(), unmark_redelivered(data).is_ok());
    let Ok(envelope) = Envelope::decode(&Bytes::copy_from_slice(data)) else { return };

    let marked = marked.expect("what was read can be marked");
    let again = Envelope::decode(&marked.clone().into()).expect("what was marked can be read");
    let mut wanted = envelope.clone();
    wanted.redelivered = true;
    assert_eq!(again, wanted);
    assert_eq!(mark_redelivered(&marked).ok().as_ref(), Some(&marked));
    let unmarked = unmark_redelivered(&marked).expect("the mark can be removed").into();
    let again = Envelope::decode(&unmarked).expect("what was unmarked can be read");
    wanted.redelivered = false;
    assert_eq!(again, wanted);

    let mut written = Vec::new();
    encode(&envelope.message, "", "celery", "tag", &mut written);
    let again = Envelope::decode(&written.into()).expect("what was read can be written");
    assert_eq!(again.message, envelope.message);
}
