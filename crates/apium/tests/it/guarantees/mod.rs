//! Guarantees of `docs/PROMISES.md` that Celery does not give, one file each, on every driver.

mod crash_loop;
mod mutated;
mod refusing_store;
mod result_size;
mod unreadable;
