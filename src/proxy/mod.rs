//! The request path: read a head, decide once, move bytes.
//!
//! ```text
//! connection      one client: exchanges one after the other, a small future while it idles
//!   plan          bytes of a head to what will be done, in one synchronous step
//!     decide      which route, in maintenance or not, with which key: pure, the same for every protocol and tool
//!     filter      the route's filters: headers edited, or an answer of theirs
//!   own           our own answers: refusals (reject, render), preflights, forward_auth, calls of the admin API; stream: what
//!                 goes on and on
//!   forward       a permit, an endpoint, a connection; again only where nothing was taken
//!     exchange    request and response move at the same time (respond: one response head; deadlines)
//!     tunnel      after a 101
//! record          one log line and one set of metrics, on every way out
//! core            what one thread owns; downstream, tunnels, patience, retry: what the above hold and ask
//! ```
//!
//! The order of a decision: unambiguous head, canonical path, own endpoints and preflights, route, maintenance, key,
//! filters.
//! Maintenance is looked at again before the first byte of every attempt.

pub mod core;
pub mod downstream;
pub mod connection;
pub mod plan;
pub mod decide;
pub mod filter;
pub mod reject;
pub(crate) mod render;
pub mod forward_auth;
pub mod own;
mod stream;
pub mod forward;
pub mod patience;
pub mod retry;
pub mod exchange;
pub mod respond;
pub mod deadlines;
pub mod tunnels;
pub mod tunnel;
pub mod record;
