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
