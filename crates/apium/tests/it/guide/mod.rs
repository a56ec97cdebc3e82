//! Celery's task guide, row by row. The name of each test has the number of its row in `docs/guide-rows.toml`, and each
//! test runs on every driver.

mod calling;
mod defining;
mod hooks;
mod publishing;
mod request;
mod retry;
mod states;
