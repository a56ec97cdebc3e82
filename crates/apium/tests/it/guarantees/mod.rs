//! Guarantees of `docs/PROMISES.md`, one file each; those that Celery does not give on every driver.

mod album;
mod chord_errbacks;
mod crash_loop;
mod max_clients;
mod mutated;
mod paused;
mod processes;
mod reconnect;
mod refusing_store;
mod result_size;
mod round_trips;
mod unreadable;
