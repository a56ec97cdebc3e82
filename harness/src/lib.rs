//! Bench and torture programs of Apium: what its speed and its promises are measured with. `cargo xtask bench` and
//! `cargo xtask torture` run the programs in `src/bin` and make tables of what they print.

pub mod canvas;
pub mod child;
pub mod counter;
pub mod embedded;
pub mod faults;
pub mod marks;
pub mod place;
pub mod process;
pub mod quantile;
pub mod redis;
pub mod report;
pub mod seam;
pub mod torture;
pub mod workflows;
