//! HTTP rules as pure functions without I/O: the fuzzable heart.

pub mod class;
pub mod head;
pub mod response;
pub mod path;
pub mod forwarded;
pub mod trace;
pub mod negotiate;
pub(crate) mod fields;
mod lines;
pub(crate) mod refusal;
pub(crate) mod target;

#[cfg(test)]
pub(crate) mod tests;
