//! The fault tests of the RabbitMQ driver, one file a guarantee of `docs/PROMISES.md`. Each breaks what the driver must
//! survive, on classic and on quorum queues. `torture_amqp` runs them and prints a line for each. The measurements of
//! its speed are in [`speed`].

pub mod crash_loop;
pub mod deadline;
pub mod delays;
pub mod frames;
pub mod kills;
pub mod nothing_lost;
pub mod reconnect;
pub mod run_once;
pub mod site;
pub mod size;
pub mod speed;
pub mod takeover;
