//! Apium's embedded driver: broker, result backend, eta store and dead set in one SQLite file (`sqlite:///var/q.db`). Several
//! processes of one machine may share the file.
//!
//! A message's way: [`broker`] (publish) → `publish` → `claim` → [`consumer`] (next) → `acker` → `settle`. Everything that writes
//! is a request to the one writer thread (`store::writer`), which serves all that wait in one transaction.
//! `chord` counts the parts of chords and `sequel` does what follows the last one, in the transaction that settles it.
//! `schema.sql` and `schema_2.sql` say what lies in the file; `wake` how others learn of it; `lease` and `mark` what becomes of the dead.

mod admin;
pub mod backend;
pub mod broker;
pub mod consumer;
#[cfg(feature = "crash-points")]
pub mod crash_points;
#[cfg(not(feature = "crash-points"))]
mod crash_points;
mod dead_set;
pub mod driver;
mod errors;
mod handle;
mod open_file;
mod options;
mod publish;
mod reader;
mod settle;
mod store;
mod wake;

pub use backend::backend::SqliteBackend;
pub use broker::SqliteBroker;
pub use consumer::consumer::SqliteConsumer;
pub use driver::SqliteDriver;
pub use wake::waker::WakeCauses;
