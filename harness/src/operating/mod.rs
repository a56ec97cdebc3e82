//! The fault tests of what an operator does and relies on: revokes, stops, quiet workers, tasks that are named because
//! they block, on memory, SQLite, Redis and RabbitMQ. `torture_memory`, `torture_sqlite`, `torture_redis` and
//! `torture_amqp` run them, the last two with Celery beside.

pub mod blocked_reactor;
pub mod celery;
pub mod crew;
pub mod durable_revokes;
pub mod idle;
pub mod on_rabbitmq;
pub mod on_redis;
pub mod revoked_work;
pub mod rows;
pub mod server;
pub mod size;
pub mod tasks;
pub mod warm_shutdown;
