//! (being written)

pub mod control;
pub mod signals;
