//! The strict HTTP/1.1 codec, on httparse for tokens and tokio for I/O.

pub mod encode;
pub mod chunk;
mod date;
mod text;
