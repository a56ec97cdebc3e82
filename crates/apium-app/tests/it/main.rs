//! Tests of the app over the memory driver.

mod context;
