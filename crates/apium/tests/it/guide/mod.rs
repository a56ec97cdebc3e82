//! Celery's task guide, row by row: each test carries the number of its row and runs on every driver.

mod calling;
mod defining;
mod hooks;
mod publishing;
mod request;
mod retry;
mod states;
