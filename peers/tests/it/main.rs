//! The peers themselves: they start, fail on request, and are gone when their time is.

mod redis_server;
