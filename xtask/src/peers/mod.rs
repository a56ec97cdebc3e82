//! `cargo xtask peers`: what the tests talk to, a Redis server and a Python with Celery, is installed.

mod debian;
mod openssl;
pub(crate) mod ready;
mod redis;
mod venv;
