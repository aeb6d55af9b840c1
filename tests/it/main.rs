//! Behaviour through real sockets: one file per capability, a sentence per test.

mod language;
mod support;
mod vectors;
mod auth;
mod headers;
mod routing;
mod streaming;
mod upgrade;
mod maintenance;
mod reload;
mod cli;
mod forward_auth;
mod limits;
mod logs;
mod ops;
mod peers;
mod shutdown;
