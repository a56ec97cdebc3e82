//! The options with which a signature is sent, merged with its own: those of what is around it go over its own.

use crate::options::call_options::{CallOptions, RareOptions};

/// The options that a signature is sent with, and its own where they say nothing. The group and the stamps of the
/// signature stay.
pub(crate) fn with_stored(mut with: CallOptions, stored: CallOptions) -> CallOptions {
    if let Some(stored_rare) = &stored.rare
        && (stored_rare.group_id.is_some() || !stored_rare.stamps.is_empty())
    {
        keep_group_and_stamps(with.rare_mut(), stored_rare);
    }
    fill_from_stored(with, stored)
}

fn keep_group_and_stamps(with: &mut RareOptions, stored: &RareOptions) {
    if stored.group_id.is_some() {
        with.group_id.clone_from(&stored.group_id);
    }
    for (name, value) in &stored.stamps {
        with.stamps.insert(name.clone(), value.clone());
    }
}

/// The options that a signature is sent with, and its own where they say nothing. As in Celery the headers are one
/// option: none of its own stay beside others.
pub(crate) fn fill_from_stored(mut with: CallOptions, mut stored: CallOptions) -> CallOptions {
    if with == CallOptions::default() {
        return stored;
    }
    if let (Some(with), Some(stored)) = (&with.rare, &mut stored.rare)
        && !with.headers.is_empty()
    {
        stored.headers.clear();
    }
    with.fill_from(&stored);
    with
}
