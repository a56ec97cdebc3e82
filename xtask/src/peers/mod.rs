//! `cargo xtask peers`: installs what the tests need: a Redis server, RabbitMQ, openssl, and a Python with Celery.

mod debian;
mod openssl;
mod rabbitmq;
pub(crate) mod ready;
mod redis;
mod venv;
