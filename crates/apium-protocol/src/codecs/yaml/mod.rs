//! YAML as Celery writes and reads it.

pub(crate) mod read;
pub(crate) mod scalar;
pub(crate) mod write;
pub(crate) mod yaml;
