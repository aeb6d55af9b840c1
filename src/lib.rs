//! Headgate: the gate in front of a handful of HTTP services.
//!
//! Reading order is bottom-up: nouns, pure HTTP rules, mechanics, capabilities, what is live, the paths, the process.

pub mod model;
pub mod linux;
pub mod semantics;
pub mod config;
pub mod telemetry;
pub mod wire;
pub mod auth;
pub mod maintenance;
pub mod store;
pub mod plugin;
pub mod generation;
pub mod health;
pub mod alert;
pub mod admin;
pub mod proxy;
pub mod ops;
pub mod app;
pub mod demo;
pub mod cli;
