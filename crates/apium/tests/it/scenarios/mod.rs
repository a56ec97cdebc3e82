//! Behaviour of Celery that is easy to get wrong, on every driver, as a caller or an operator sees it. Where Apium does
//! better than Celery, the test says so.

mod calling;
mod delaying;
mod layers;
mod lists;
mod prefetch;
mod priorities;
mod rejecting;
mod results;
mod retries;
mod routing;
pub(crate) mod shutdown;
mod signals;
mod workflows;
