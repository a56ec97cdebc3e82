//! Behaviour of Celery that is easy to get wrong, on every driver, as a caller or an operator sees it. Where Apium does
//! better than Celery, the test says so.

mod calling;
mod delaying;
pub(crate) mod ends;
mod layers;
mod lists;
mod prefetch;
mod priorities;
mod results;
mod retries;
mod routing;
mod workflows;
