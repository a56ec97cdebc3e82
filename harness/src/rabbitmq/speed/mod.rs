//! The measurements of the RabbitMQ driver beside Celery and beside a bare client on the same node. Each is one run of
//! `bench_amqp`, which starts itself again for Apium's workers.

pub mod bare;
pub mod drain;
pub mod node;
pub mod publish;
pub mod round_trip;
