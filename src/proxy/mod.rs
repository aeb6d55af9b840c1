//! The request path: read a head, decide once, move bytes.

pub mod connection;
pub mod core;
pub mod deadlines;
pub mod decide;
pub mod downstream;
pub mod exchange;
pub mod forward;
pub mod forward_auth;
pub mod own;
pub mod patience;
pub mod plan;
pub mod record;
pub mod reject;
pub(crate) mod render;
pub mod respond;
pub mod tunnel;
pub mod tunnels;
