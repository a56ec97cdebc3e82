//! Apium's embedded driver: broker, result backend, delayed messages and dead set in one SQLite file
//! (`sqlite:///var/q.db`). Several processes of one machine may share the file.
//!
//! The way of a message: [`broker`] (publish) → `publish` → `consumer::claim` → [`consumer`] (next) → `settle::acker` →
//! `settle::settle`. Everything that writes is a request to the one writer thread (`store::writer`), which runs all
//! waiting requests in one transaction.
//!
//! `backend::chord` counts the parts of chords. `settle::follow_ups` writes what follows the last part, in the
//! transaction that settles it. `store/schema.sql` and `store/schema_2.sql` define the tables. `wake` tells consumers
//! and watchers, of this process and of others, that something was committed. `consumer::lock_file`
//! and leases tell that a consumer died, and `consumer::reclaim` requeues what it had in flight.

mod admin;
pub mod backend;
mod broadcast;
pub mod broker;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash_points;
#[cfg(not(feature = "crash-points"))]
mod crash_points;
mod dead_set;
pub mod driver;
mod errors;
#[cfg(feature = "crash-points")]
pub mod faults;
#[cfg(not(feature = "crash-points"))]
mod faults;
mod fleet;
mod handle;
mod open_file;
mod options;
mod publish;
mod settle;
mod store;
mod wake;

pub use backend::backend::SqliteBackend;
pub use broker::SqliteBroker;
pub use consumer::consumer::SqliteConsumer;
pub use driver::SqliteDriver;
pub use wake::waker::WakeCauses;
