//! Servers and connections in trouble: each error says what is wrong, and everything goes on afterwards.

mod breaks;
mod full_memory;
mod health;
mod refusals;
mod states;
mod wrong_types;
