//! Commands to workers that run, and what workers say: `inspect`, `control`, `status`, `events`.

pub(crate) mod ask;
pub(crate) mod catalog;
pub(crate) mod control;
pub(crate) mod event_text;
pub(crate) mod events;
pub(crate) mod inspect;
pub(crate) mod options;
pub(crate) mod reply_text;
pub(crate) mod status;
