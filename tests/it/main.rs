//! Behaviour through real sockets: one file per capability, a sentence per test.

mod auth;
mod cli;
mod compile;
mod deaf;
mod demo;
mod forward_auth;
mod headers;
mod language;
mod limits;
mod logs;
mod maintenance;
mod ops;
mod paths;
mod peers;
mod plugin;
mod plugin_authors;
mod plugins;
mod reload;
mod retry;
mod routing;
mod shutdown;
mod smuggling;
mod streaming;
mod support;
mod upgrade;
mod vectors;
