//! `cargo xtask peers`: installs what the tests need: a Redis server, openssl, and a Python with Celery.

mod debian;
mod openssl;
pub(crate) mod ready;
mod redis;
mod venv;
