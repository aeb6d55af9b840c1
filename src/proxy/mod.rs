//! The request path: read a head, decide once, move bytes.

pub mod decide;
pub mod forward_auth;
pub mod reject;
mod render;
