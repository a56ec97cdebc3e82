//! What is stored: result documents, their states and their exceptions.

pub mod document;
pub mod exception;
pub mod state;
