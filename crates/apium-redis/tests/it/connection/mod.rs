//! Servers and connections in trouble: each error says what is wrong, and everything goes on afterwards.

mod breaks;
mod full_memory;
mod health;
mod lost_data;
mod outages;
mod refusals;
mod shared_connections;
mod sizes;
mod states;
mod wrong_types;
