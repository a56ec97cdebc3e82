//! `cargo xtask docs`: the pages under `docs/` that are generated from code and tests.

pub(crate) mod celery_settings;
pub(crate) mod coverage;
pub(crate) mod guide;
pub(crate) mod options;
pub(crate) mod pages;
pub(crate) mod program;
pub(crate) mod snippets;
