//! The process: parts are built here and handed to each other.

pub mod data;
