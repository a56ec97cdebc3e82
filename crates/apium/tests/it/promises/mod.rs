//! What Apium guarantees beyond Celery, one file a promise, each on every driver.

mod crash_loop;
mod unreadable;
