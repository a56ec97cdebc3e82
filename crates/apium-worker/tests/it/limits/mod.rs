//! What limits runs: slots, time limits, rate limits and the prefetch.

mod prefetch_window;
mod rate_limit;
mod slots;
mod time_limit;
