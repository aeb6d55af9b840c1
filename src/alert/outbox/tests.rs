//! The outbox with real sinks over sockets is in `tests/it/outbox.rs`; here is what it does by rule.
