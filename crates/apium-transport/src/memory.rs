//! The memory driver.
