//! Behaviours of Celery that are easily got wrong, each on every driver: what a caller or an operator sees, not how it comes about.
//! Where Apium does better than Celery the test says so.

mod calling;
mod lists;
mod parking;
mod prefetch;
mod rejecting;
mod results;
mod retries;
mod routing;
pub(crate) mod shutdown;
mod signals;
mod workflows;
