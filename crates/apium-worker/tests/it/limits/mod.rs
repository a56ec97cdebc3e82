//! What limits runs: time limits, rate limits and the prefetch.

mod prefetch_window;
mod rate_limit;
mod time_limit;
