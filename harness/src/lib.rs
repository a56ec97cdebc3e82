//! Programs that measure Apium's speed and break what it must survive. `cargo xtask bench` and `cargo xtask torture`
//! run the programs in `src/bin` and make tables of what they print.

pub mod canvas;
pub mod child;
pub mod counter;
pub mod embedded;
pub mod faults;
pub mod number_log;
pub mod operating;
pub mod process;
pub mod processes;
pub mod quantile;
pub mod rabbitmq;
pub mod redis;
pub mod report;
pub mod scaling;
pub mod scratch;
pub mod seam;
pub mod speed;
pub mod torture;
pub mod user_code;
pub mod workflows;
