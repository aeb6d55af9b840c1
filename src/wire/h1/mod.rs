//! The strict HTTP/1.1 codec, on httparse for tokens and tokio for I/O.

pub mod chunk;
mod date;
pub mod edit;
pub mod encode;
pub mod read;
pub mod relay;
mod text;
